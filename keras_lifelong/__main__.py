"""`python -m keras_lifelong` is the program `keras-lifelong`."""

import sys

from keras_lifelong.cli import main

if __name__ == "__main__":
    sys.exit(main())
