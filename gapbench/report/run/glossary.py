"""The words of a report, explained for a reader who sees one for the first time."""

from __future__ import annotations

JUDGED = (
    "Judged",
    "Another model, the judge, compared an answer that no rule could read with the reference answer. Where it gave no "
    "verdict (judge failed) or could not tell, the answer counts as wrong, as an unparsed one does.",
)
"""For runs that have a judge."""

TERMS: tuple[tuple[str, str], ...] = (
    (
        "Full and crop",
        "Each question is asked twice: once with the full image, once with only the region around its evidence. "
        "Accuracy is the mean score, 0 to 100%; unparsed answers score 0.",
    ),
    (
        "Gap",
        "The mean over samples of the crop score minus the full score, in percentage points, on the samples that have "
        "both. Above zero: the model can read the evidence but misses it in the full image. Because it uses pairs "
        "only, it can differ slightly from the difference of the two accuracies.",
    ),
    (
        "95% interval",
        "Where the true value plausibly lies, given how many independent images were asked about. Samples that share "
        "an image form one cluster and count as one unit. The column Interval names the method: cluster-t is the "
        "cluster-robust Student t interval, cluster-bootstrap resamples whole clusters and serves when there are "
        "fewer, cluster-exact serves when hardly any cluster differs from the rest.",
    ),
    (
        "p",
        "How often a gap at least this large, in either direction, would arise if crop and full were interchangeable: "
        "a sign-flip test over clusters. With several benchmarks it is corrected after Holm.",
    ),
    (
        "MDE",
        "Minimum detectable effect: the smallest true gap, in points, that a run of this size finds with 80% power at "
        "the 5% level. A gap that is not significant says little when the MDE is large.",
    ),
    (
        "Unparsed",
        "An output from which no rule could read an answer. It counts as wrong and is reported, because a model that "
        "answers in another format looks worse than it sees.",
    ),
    (
        "Failed, left out",
        "The engine gave no answer at all. Such an answer has no score; its sample is left out of the gap and counted.",
    ),
    (
        "Crop only, full only",
        "Samples that exactly one of the two views answers correctly. Crop-only samples are the gap, full-only samples "
        "are its opposite: often questions that need the surroundings.",
    ),
    (
        "Image tokens",
        "How many tokens the image costs the model. A crop may get fewer or more tokens than the full image, and "
        "that is part of what a gap can be made of.",
    ),
    (
        "Exploratory",
        "Results for categories and for bins of evidence area. They are many and small: a starting point for looking "
        "at samples, not a finding.",
    ),
)
