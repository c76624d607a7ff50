"""ARI: a knowledge base of parameters, chosen by their predicted adaptation."""

from keras_lifelong.method_files import lazily

__getattr__ = lazily(__name__)  # figures of a run are drawn without Keras
