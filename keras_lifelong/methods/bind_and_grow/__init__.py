"""BindAndGrow: learn to bind and grow neural structures (L2BG)."""

from keras_lifelong.method_files import lazily

__getattr__ = lazily(__name__)  # figures of a run are drawn without Keras
