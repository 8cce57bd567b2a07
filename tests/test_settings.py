"""Where a checkpoint lies, by its name."""

from pathlib import Path

from daemon.settings import BUILT_IN, Home


def test_demo_is_the_built_in_model(tmp_path: Path) -> None:
    """A fresh home needs no checkpoint: the package brings one."""
    assert Home(tmp_path).checkpoint("demo") == BUILT_IN


def test_a_demo_of_ones_own_wins(tmp_path: Path) -> None:
    """A folder that a person put there is what they mean."""
    home = Home(tmp_path)
    own = home.checkpoints / "demo"
    own.mkdir(parents=True)
    assert home.checkpoint("demo") == own


def test_other_names_lie_in_the_home_and_paths_where_they_say(tmp_path: Path) -> None:
    """Whether they are there is found out when they are loaded."""
    home = Home(tmp_path)
    assert home.checkpoint("juggernaut") == home.checkpoints / "juggernaut"
    assert home.checkpoint("/somewhere/demo") == Path("/somewhere/demo")
