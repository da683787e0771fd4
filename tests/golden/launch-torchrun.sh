#!/usr/bin/env bash
# BERT large uncased, finetune, 512 tokens x 32 a step; 2x GeForce RTX 3090 on 1 node
# FILL_IN.py: a script that takes transformers' TrainingArguments
# in the script: sequences of 512 tokens
torchrun \
    --nnodes 1 \
    --nproc-per-node 2 \
    --standalone \
    FILL_IN.py \
    --output_dir FILL_IN \
    --max_steps 1000 \
    --per_device_train_batch_size 16 \
    --gradient_accumulation_steps 1 \
    --optim adamw_torch \
    --bf16 true \
    --fp16 false \
    --tf32 false \
    --gradient_checkpointing false \
    --torch_compile false \
    --ddp_bucket_cap_mb 25
