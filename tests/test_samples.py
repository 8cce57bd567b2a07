"""The sample prompts of a first look."""

from pathlib import Path

from daemon import samples
from daemon.prompts import Prompt, parse
from daemon.settings import DEMO, Home


def test_every_sample_is_a_prompt_for_the_built_in_model(tmp_path: Path) -> None:
    """What `safelight demo` drops is accepted as it stands, and asks for several seeds of each."""
    home = Home(tmp_path)
    samples.drop(home)
    files = sorted(home.inbox.iterdir())
    jobs = [parse(file.read_bytes(), DEMO) for file in files]
    assert len(jobs) == len(samples.PROMPTS)
    for job in jobs:
        assert isinstance(job, Prompt)
        assert (job.model, job.count > 1) == (DEMO, True)
