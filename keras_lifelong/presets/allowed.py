"""The objects of Keras that a preset may name: a list, by module and name.

Nothing else of Keras is reached from a preset, whatever it exports. What is not here
runs code that is not Keras' (`Lambda`, `TFSMLayer`, `JaxLayer`, …), reads files that it
is told of (`StringLookup`, `TextVectorization`, …), takes patterns that may take for
ever (`DTypePolicyMap`, `MultiOptimizer`), or is no part of a backbone.
"""

from __future__ import annotations

_POOLS = """
AdaptiveAveragePooling AdaptiveMaxPooling AveragePooling AvgPool GlobalAveragePooling
GlobalAvgPool GlobalMaxPool GlobalMaxPooling MaxPool MaxPooling
Conv ConvLSTM Convolution Cropping SpatialDropout UpSampling ZeroPadding
"""
_LAYERS = """
Activation ActivityRegularization Add AdditiveAttention AlphaDropout Attention AugMix
AutoContrast Average BatchNormalization Bidirectional CategoryEncoding CenterCrop
Concatenate ContrastLimitedAdaptiveHistogramEqualization Conv1DTranspose Conv2DTranspose
Conv3DTranspose Convolution1DTranspose Convolution2DTranspose Convolution3DTranspose
Dense DepthwiseConv1D DepthwiseConv2D Discretization Dot Dropout ELU EinsumDense
Embedding Equalization Flatten GRU GRUCell GaussianDropout GaussianNoise
GroupNormalization GroupQueryAttention Identity InputLayer LSTM LSTMCell
LayerNormalization LeakyReLU Masking Maximum MelSpectrogram Minimum MultiHeadAttention
Multiply Normalization PReLU Permute RMSNormalization RNN RandAugment RandomBrightness
RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop
RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale
RandomHue RandomInvert RandomPerspective RandomPosterization RandomRotation
RandomSaturation RandomSharpness RandomShear RandomTranslation RandomZoom ReLU
RepeatVector Rescaling Reshape Resizing ReversibleEmbedding STFTSpectrogram
SeparableConv1D SeparableConv2D SeparableConvolution1D SeparableConvolution2D SimpleRNN
SimpleRNNCell Softmax Solarization SpectralNormalization StackedRNNCells Subtract
TimeDistributed UnitNormalization
"""
_INITIALIZERS = """
Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity IdentityInitializer
LecunNormal LecunUniform Ones Orthogonal OrthogonalInitializer RandomNormal
RandomUniform STFT STFTInitializer TruncatedNormal VarianceScaling Zeros
"""
_OPTIMIZERS = """
Adadelta Adafactor Adagrad Adam AdamW Adamax Ftrl Lamb Lion LossScaleOptimizer Muon
Nadam RMSprop SGD ScheduleFreeAdamW
"""
_SCHEDULES = """
CosineDecay CosineDecayRestarts ExponentialDecay InverseTimeDecay
PiecewiseConstantDecay PolynomialDecay
"""
_LOSSES = """
BinaryCrossentropy BinaryFocalCrossentropy CategoricalCrossentropy
CategoricalFocalCrossentropy CategoricalHinge CosineSimilarity Hinge Huber KLDivergence
LogCosh MeanAbsoluteError MeanAbsolutePercentageError MeanSquaredError
MeanSquaredLogarithmicError Poisson SparseCategoricalCrossentropy SquaredHinge
"""
_METRICS = """
AUC Accuracy BinaryAccuracy BinaryCrossentropy CategoricalAccuracy
CategoricalCrossentropy CategoricalHinge CosineSimilarity F1Score FBetaScore
FalseNegatives FalsePositives Hinge KLDivergence LogCoshError Mean MeanAbsoluteError
MeanAbsolutePercentageError MeanSquaredError MeanSquaredLogarithmicError Poisson
Precision PrecisionAtRecall R2Score Recall RecallAtPrecision RootMeanSquaredError
SensitivityAtSpecificity SparseCategoricalAccuracy SparseCategoricalCrossentropy
SparseTopKCategoricalAccuracy SpecificityAtSensitivity SquaredHinge
TopKCategoricalAccuracy TrueNegatives TruePositives
"""
# Classes that `x + y`, `keras.ops.relu(x)` and the like put into a graph. They get
# tensors and numbers, and give tensors.
_NUMPY_OPERATIONS = """
Abs Absolute Add All Amax Amin Any Average BroadcastTo Ceil Clip Concatenate Cos Cumprod
Cumsum Divide DivideNoNan Dot Einsum Equal Exp ExpandDims Expm1 Flip Floor FloorDivide
GetItem Greater GreaterEqual Less LessEqual Log Log1p Log2 LogicalAnd LogicalNot
LogicalOr Matmul Max Maximum Mean Min Minimum Mod Moveaxis Multiply Negative NotEqual
OnesLike Pad Power Prod Ravel Reciprocal Repeat Reshape Roll Round Sign Sin Split Sqrt
Square Squeeze Stack Std Subtract Sum Swapaxes Take TakeAlongAxis Tanh Tile Transpose
Tril Triu TrueDivide Var Where ZerosLike
"""
_NN_OPERATIONS = """
AdaptiveAveragePool AdaptiveMaxPool AveragePool Celu DepthToSpace DotProductAttention
Elu Gelu Glu HardShrink HardSigmoid HardSilu HardTanh LayerNorm LeakyRelu LogSigmoid
LogSoftmax MaxPool Normalize OneHot RMSNorm Relu Relu6 Selu Sigmoid Silu SoftShrink
Softmax Softplus Softsign SpaceToDepth Squareplus TanhShrink
"""

LAYER, INITIALIZER, REGULARIZER = "layer", "initializer", "regularizer"
OPERATION = "operation"
CONSTRAINT, POLICY, OPTIMIZER = "constraint", "dtype policy", "optimizer"
SCHEDULE, FUNCTION = "learning rate schedule", "function"
LOSS, METRIC = "loss", "metric"

ACTIVATIONS = frozenset(
    """
celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh
leaky_relu linear log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink
softmax softplus softsign sparse_plus sparse_sigmoid sparsemax squareplus swish tanh
tanh_shrink threshold
""".split()
)

# (module, name) -> kind
CLASSES: dict[tuple[str, str], str] = {
    ("keras", "Sequential"): LAYER,
    ("keras.models", "Sequential"): LAYER,
    ("keras", "Model"): LAYER,
    ("keras.models", "Model"): LAYER,
    ("keras.src.models.functional", "Functional"): LAYER,
    ("keras", "DTypePolicy"): POLICY,
    ("keras.dtype_policies", "DTypePolicy"): POLICY,
    ("keras.dtype_policies", "FloatDTypePolicy"): POLICY,
}
for _module, _kind, _names in (
    ("keras.layers", LAYER, _LAYERS.split()),
    ("keras.layers", LAYER, [f"{n}{d}D" for n in _POOLS.split() for d in (1, 2, 3)]),
    ("keras.initializers", INITIALIZER, _INITIALIZERS.split()),
    ("keras.regularizers", REGULARIZER, "L1 L1L2 L2 OrthogonalRegularizer".split()),
    ("keras.constraints", CONSTRAINT, "MaxNorm MinMaxNorm NonNeg UnitNorm".split()),
    ("keras.losses", LOSS, _LOSSES.split()),
    ("keras.metrics", METRIC, _METRICS.split()),
    ("keras.optimizers", OPTIMIZER, _OPTIMIZERS.split()),
    ("keras.optimizers.schedules", SCHEDULE, _SCHEDULES.split()),
    ("keras.src.ops.numpy", OPERATION, _NUMPY_OPERATIONS.split()),
    ("keras.src.ops.nn", OPERATION, _NN_OPERATIONS.split()),
    ("keras.src.ops.core", OPERATION, "Cast StopGradient".split()),
    ("keras.src.ops.math", OPERATION, "Erf Logsumexp Rsqrt".split()),
):
    CLASSES |= {(_module, _name): _kind for _name in _names}

# Those whose configuration is a graph of calls: see `graphs`.
GRAPHS = frozenset(
    (module, name) for module, name in CLASSES if name in ("Functional", "Model")
)

# By the end of an argument's name: what a description or a name there stands for.
ROLES = {
    "activation": FUNCTION,
    "initializer": INITIALIZER,
    "regularizer": REGULARIZER,
    "constraint": CONSTRAINT,
    "dtype": POLICY,
    "layer": LAYER,
    "layers": LAYER,
    "cell": LAYER,
    "cells": LAYER,
    "backbone": LAYER,
    "learning_rate": SCHEDULE,
    "optimizer": OPTIMIZER,
}
DTYPES = frozenset(
    f"{kind}{bits}"
    for kind, sizes in (("float", (16, 32, 64)), ("int", (8, 16, 32, 64)))
    for bits in sizes
) | {"bool", "bfloat16", "uint8", "uint16", "uint32", "uint64"}
POLICIES = DTYPES | {"mixed_float16", "mixed_bfloat16"}

# Arguments that a class takes, but does not name in its `__init__`.
UNNAMED = {"LayerNormalization": ("rms_scaling",)}

# Of whole numbers by the name of their argument; LARGEST for all others.
LARGEST = 10**8
LARGEST_OF = {
    "bins": 2**16,
    "fft_length": 2**16,
    "frame_length": 2**16,
    "groups": 2**16,
    "indices_or_sections": 2**12,
    "num_bins": 2**20,
    "num_mel_bins": 2**12,
    "num_ops": 64,
    "power_iterations": 100,
    "seed": 2**64,
    "sequence_length": 2**16,
}
UNROLLED = 500  # steps of a recurrent layer that is written out
