"""The terms of a report, for a reader who sees one for the first time."""

from __future__ import annotations

JUDGED = (
    "Judged",
    "Answers that no rule could read. The judge, another model, compared them with the reference answers. If the "
    "judge gave no verdict (judge failed) or could not tell, the answer counts as wrong, like an unparsed answer.",
)
"""For runs with a judge."""

TERMS: tuple[tuple[str, str], ...] = (
    (
        "Full and crop",
        "The two views of a sample. The model answers each question once from the full image and once from the crop, "
        "which shows only the region around the evidence. Accuracy is the mean score, from 0 to 100%. Unparsed "
        "answers score 0.",
    ),
    (
        "Gap",
        "The crop score minus the full score, in percentage points, averaged over the samples that have both scores. "
        "A gap above zero means that the model can read the evidence in the crop but misses it in the full image. "
        "Samples with only one score do not count, so the gap can differ slightly from the difference of the two "
        "accuracies.",
    ),
    (
        "95% interval",
        "The range in which the true value plausibly lies. Samples that share an image form one cluster, and each "
        "cluster counts as one independent unit. The column Interval names the method. cluster-t: Student's t "
        "interval with a cluster-robust standard error, for 100 clusters or more. cluster-bootstrap: resampling of "
        "clusters, for fewer than 100 clusters. cluster-exact: binomial limits, if at most five clusters differ from "
        "all others. macro-t: Student's t interval, for the mean over benchmarks.",
    ),
    (
        "p",
        "The probability of a gap at least this large, in either direction, if crop and full were interchangeable. It "
        "comes from a sign-flip test over clusters; for the macro mean it comes from a t-test. If a run has several "
        "benchmarks, their p-values are corrected by Holm's method.",
    ),
    (
        "MDE",
        "Minimum detectable effect: the smallest true gap, in points, that a run of this size detects with 80% power "
        "at the 5% level. If the MDE is large, a gap that is not significant says little.",
    ),
    (
        "Unparsed",
        "Outputs from which no rule could read an answer. They count as wrong. Their share is reported because a "
        "model that sees well but answers in another format also scores 0.",
    ),
    (
        "Failed, left out",
        "The engine gave no answer. A failed answer has no score, so its sample is left out of the gap. The table "
        "counts failed answers and samples left out.",
    ),
    (
        "Crop only, full only",
        "Samples that the model answers correctly in only one of the two views. Crop-only samples raise the gap. "
        "Full-only samples lower it; their questions often need the surroundings of the evidence.",
    ),
    (
        "Image tokens",
        "The number of tokens that the model spends on the images of one answer. A crop may cost fewer or more tokens "
        "than the full image, and this difference can contribute to the gap.",
    ),
    (
        "Exploratory",
        "Results for categories and for bins of evidence area. They are many, they rest on few samples, and they are "
        "not corrected for their number. Use them to choose samples to look at, not as findings.",
    ),
)
