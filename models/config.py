"""What a translator is built of and how it is trained: the values of the flags of the same names."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """What the networks are made of; the flags of the same names."""

    netG: str
    netD: str
    ngf: int
    ndf: int
    norm: str
    dropout: bool
    upsample: str
    init_type: str
    init_gain: float
    hand_share: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Objective:
    """How they are trained; the flags of the same names."""

    lr: float
    lr_final: float = 1.0
    lr_ratio: float = 1.0
    warmup: int
    beta1: float
    lambda_gan: float
    lambda_cycle: float
    cycle_tone: float = 1.0
    lambda_identity: float
    lambda_detail: float = 0.0
    lambda_r1: float
    lambda_geo: float = 0.0
    input_noise: float = 0.0
    d_shift: int = 0
    raw_l1: bool = False
    common_mask: bool = False
    pool_size: int
    ema: float
    mask: bool
