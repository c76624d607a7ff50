"""LASEM: lifelong learning with selective layer transfer."""

from keras_lifelong.method_files import lazily

__getattr__ = lazily(__name__)  # figures of a run are drawn without Keras
