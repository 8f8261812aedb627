"""Scoring: read the answer in a model's output and decide whether it is right, without guessing.

    from gapbench.scoring import score
    score("The answer is (B) because A is wrong.", ["B"], "letter", ("red", "blue"))
    # Score(outcome='right', score=1.0, parsed='B', rule='letter-statement', reason='')

First thinking, markup and typography are removed. Then the first of four steps that finds something decides: a
statement; a bare answer; the one text that is said affirmatively; else unparsed. A mention, a rejection, a question and
a list never count. `docs/scoring.md` shows the grammar with examples, `phrases.toml` has its words. The record names
the rule:

| rule | what decided |
|---|---|
| letter-statement | an answer statement that begins with a letter: "The answer is B", a box, "B is correct" |
| letter-bare | a letter alone on a line or set off at its start: "B", "b)", "B: red" |
| option-text | one option's text, the only one that the output, its answer statement or its conclusion says |
| yes-no-statement | an answer statement |
| yes-no-lead | a sentence that begins with yes or no |
| yes-no-text | the question, repeated as a statement or its denial: "There is no dog." |
| number-statement | an answer statement |
| number-bare | the only number that stands alone on a line |
| number-only | the number of the clause that answers, else the only number in the output, or its total |
| text-statement | the answer statement, compared as normalised text |
| text-exact | the whole output, its first line or sentence, or a labelled last line, compared as normalised text |
| text-contained | a statement, or the clause that answers, contains an accepted answer as whole words |
| text-option | the only member of a closed set that the output names |
| vqa, anls | the soft score of the whole output |
| vqa-statement, anls-statement | the soft score of the answer statement |
| empty | unparsed: nothing is left after thinking |
| thought-cut-off | unparsed: the output ends inside its thought |
| refusal | unparsed: the output says that the answer cannot be given |
| conflict | unparsed: letters, numbers or statements contradict each other or the text beside them, and none is final |
| outside-options | unparsed: the letter is not among the options |
| no-letter, no-yes-no, no-number, no-text | unparsed: no answer of the expected type |
| denied | unparsed: the accepted text is denied, doubted, or said of something else |
| alternatives | unparsed: the accepted text is one of several |
| mentioned | unparsed: the accepted text appears in passing |
| judge | a judge decided, because no rule could; never in `records.jsonl` (`gapbench.judging`) |

Limits: the rules are for English and Chinese, and a little Japanese; of seven other languages they know only yes, no,
small numbers and "the answer is". Scoring calls no model. It never gives the outcome `failed`, which is for engines.
"""

from gapbench.scoring.outcome import Score, unparsed
from gapbench.scoring.rules import THOUGHT_CUT_OFF, score

INFERRED = frozenset({"option-text", "yes-no-text", "number-only", "text-contained", "text-option"})
"""Rules of the table above that infer the answer from what the output says; the others read one that it gives as such.
Strict scoring leaves inferred answers unparsed (`gapbench.analysis.scorings`)."""

__all__ = ["INFERRED", "THOUGHT_CUT_OFF", "Score", "score", "unparsed"]
