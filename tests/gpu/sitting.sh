#!/bin/sh
# What to ask of a GPU that is there for a quarter of an hour; takes 12 minutes at most, and no network:
#
#     sh tests/gpu/sitting.sh DATAROOT VGG16 OUT [flags of train.py]
#
# VGG16: a file of torchvision's weights up to conv4_3, 15 MB in float16, made beforehand by
#     python -c "import torch; from models.features.vgg16 import load_vgg16 as load; net = load('auto', calibrated=False)[0]
#     torch.save({name: value.half() for name, value in net.state_dict().items()}, 'vgg16.pt')"
# TORCH_HOME/hub/checkpoints holds the feature network of the validations. A rehearsal on a CPU, of some minutes:
#     sh tests/gpu/sitting.sh DATAROOT random OUT --device cpu --ngf 2 --ndf 2 --crop_size 32 --max_steps 3
[ $# -ge 3 ] || { echo "sh $0 DATAROOT VGG16 OUT [flags of train.py]"; exit 2; }
data=$1 vgg=$2 out=$3
shift 3
mkdir -p "$out"

say() { # say FILE SECONDS COMMAND...: run it for so long at most; its output and how it ended go to OUT/FILE
    file=$out/$1 limit=$2 start=$(date +%s)
    shift 2
    timeout "$limit" "$@" >"$file" 2>&1
    echo "status $? after $(($(date +%s) - start)) s" | tee -a "$file"
}

train() { # train NAME SECONDS FLAGS...: a run at full size, as README's command makes it, and what tells how it went
    name=$1 limit=$2
    shift 2
    say "$name.txt" "$limit" python train.py --name "$name" --netD perceptual --checkpoints_dir "$out/runs" \
        --dataroot "$data" --vgg_weights "$vgg" "$@"
    cp "$out/runs/$name/log.jsonl" "$out/$name.jsonl"
}

say tests.txt 170 python -m pytest -m gpu -n 0 -q tests/gpu
say benchmark.txt 70 python -m util.benchmark --dataroot "$data" "$@"
train short 140 --max_steps 7000 --val_interval 2 "$@" # due: 120 s with its validations
train long 330 --max_steps 25000 --val_interval 9 "$@"
tail -n 40 "$out"/*.txt
