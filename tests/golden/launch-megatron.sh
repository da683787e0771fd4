#!/usr/bin/env bash
# Llama 3 8B, pretrain, 4,096 tokens x 64 a step; 16x H100 SXM5 80 GB on 2 nodes
# pretrain_gpt.py of NVIDIA/Megatron-LM, core_v0.19.0
# --rotary-base and --norm-epsilon: add them where the model's config.json differs from 10000 and 1e-5
# run on every node
MASTER_ADDR=FILL_IN  # address of the first node
MASTER_PORT=29500
NODE_RANK=FILL_IN  # 0 to 1, another on every node
LR=FILL_IN  # learning rate
TOKENIZER=FILL_IN  # a folder with the model's tokenizer
DATA=FILL_IN  # prefix of the data that tools/preprocess_data.py wrote
CHECKPOINTS=FILL_IN  # folder to load from and save to
SAVE_INTERVAL=FILL_IN  # steps between two checkpoints
export CUDA_DEVICE_MAX_CONNECTIONS=1
torchrun \
    --nnodes 2 \
    --nproc-per-node 8 \
    --node-rank "$NODE_RANK" \
    --master-addr "$MASTER_ADDR" \
    --master-port "$MASTER_PORT" \
    pretrain_gpt.py \
    --num-layers 32 \
    --hidden-size 4096 \
    --ffn-hidden-size 14336 \
    --num-attention-heads 32 \
    --kv-channels 128 \
    --group-query-attention \
    --num-query-groups 8 \
    --vocab-size 128256 \
    --max-position-embeddings 8192 \
    --position-embedding-type rope \
    --normalization RMSNorm \
    --swiglu \
    --disable-bias-linear \
    --untie-embeddings-and-output-weights \
    --seq-length 4096 \
    --micro-batch-size 1 \
    --global-batch-size 64 \
    --train-iters 1000 \
    --hidden-dropout 0.0 \
    --attention-dropout 0.0 \
    --optimizer adam \
    --bf16 \
    --tensor-model-parallel-size 2 \
    --pipeline-model-parallel-size 4 \
    --context-parallel-size 1 \
    --sequence-parallel \
    --num-virtual-stages-per-pipeline-rank 2 \
    --use-distributed-optimizer \
    --overlap-grad-reduce \
    --transformer-impl transformer_engine \
    --attention-backend fused \
    --make-vocab-size-divisible-by 128 \
    --cross-entropy-loss-fusion \
    --lr "$LR" \
    --tokenizer-type HuggingFaceTokenizer \
    --tokenizer-model "$TOKENIZER" \
    --data-path "$DATA" \
    --load "$CHECKPOINTS" \
    --save "$CHECKPOINTS" \
    --save-interval "$SAVE_INTERVAL"
