"""``python -m spectranet``, which is what ``torchrun -m spectranet`` runs."""

from spectranet.cli import main

if __name__ == "__main__":
    main()
