"""Vision-OPD: on-policy self-distillation from the evidence crop to the full image.

    gapbench.distill("glance", "signs", recipe="demo", eval=["signs"], out="runs/distill")

The student sees the full image and writes an answer. The teacher sees the evidence crop and gives, for every token of
that answer, its own distribution over the next token. Training moves the student's distribution towards the teacher's.
It needs no reference answers, no other model and no tools at inference.

| module          | holds                                                                                     |
|-----------------|-------------------------------------------------------------------------------------------|
| `recipe`        | the settings of a training                                                                |
| `job`           | one call of `gapbench distill`: model, recipe, folder                                     |
| `pairs`         | the images and the prompt of student and teacher                                          |
| `rollouts`      | sampling of answers: the protocol of a sampler, and sampling by the trained model itself  |
| `vllm`          | rollouts by vLLM with the student's current weights                                       |
| `forward`       | teacher forcing; `forward_check` compares it with generation before training              |
| `batches`       | micro-batches                                                                             |
| `divergence`    | the loss                                                                                  |
| `student`       | a model wrapped for training                                                              |
| `teachers`      | the teacher's weights                                                                     |
| `loop`          | the training loop, one step from top to bottom                                            |
| `checkpoints`   | saving and restoring; `resume` refuses to continue another training                       |
| `saving`, `card`| the trained model's folder and its model card                                             |
| `health`        | warnings while training                                                                   |
| `contamination` | training images that are also evaluated; `copies` says when two images show the same      |
| `training`      | from a recipe to a model folder                                                           |

`gapbench.commands.distill` measures before and after a training.

Limits: one image per sample. ZeRO is not supported; use DDP or FSDP2.
"""
