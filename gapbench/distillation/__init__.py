"""Vision-OPD: on-policy self-distillation from the evidence crop to the full image.

    gapbench.distill("glance", "signs", recipe="demo", eval=["signs"], out="runs/distill")

The student sees the full image and writes an answer; the teacher sees the evidence crop and says, token by token, how
it would have gone on; the student is moved towards that. No labels, no other model, no tools at inference. One idea a
module: `recipe` (what to do), `pairs` (what each side sees), `rollouts`, `samplers` (who writes them; through vLLM
`vllm_rollouts`, with the weights that `published` and `vllm_weights` bring it), `forward` (teacher forcing),
`divergence`, `teachers`, `loop` (one step read from top to bottom), `checkpoints`, `resume`, `saving`, `health`,
`selfcheck`, `contamination`, `card`, `training` (from recipe to model folder), `pipeline` (measure, train, measure
again).

Limits: one image per question; ZeRO is not supported, use DDP or FSDP2.
"""
