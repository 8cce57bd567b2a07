"""The recipe of the demo model: draws its data, trains and exports a tiny SDXL."""
