"""Every command by one name: `python -m spectral filter-response ckpt.pt`, as the console script `spectral`."""

from models.console import main

if __name__ == "__main__":
    main()
