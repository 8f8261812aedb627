"""What can be known of a run before weights are loaded: lengths of prompts, memory, downloads.

    from gapbench.preflight.lengths import view_lengths
    from gapbench.preflight.memory import to_measure

`gapbench.commands.doctor` puts it together.
"""
