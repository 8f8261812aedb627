"""Scoring: read the answer in a model's output and decide whether it is right, without guessing.

    from gapbench.scoring import score
    score("The answer is (B) because A is wrong.", ["B"], "letter", ("red", "blue"))
    # Score(outcome='right', score=1.0, parsed='B', rule='letter-statement', reason='')

First thinking, markup and typography are removed, then the rules of the answer type decide. The record names the rule:

| rule | what decided |
|---|---|
| letter-statement | an answer statement that begins with a letter: "The answer is B", a box, "B is correct" |
| letter-bare | a letter alone on a line or set off at its start: "B", "b)", "B: red" |
| letter-mention | a bracketed letter or "option C" within prose |
| option-text | the output, or its answer statement, is exactly one option's text |
| yes-no-statement | an answer statement |
| yes-no-lead | a sentence that begins with yes or no |
| number-statement | an answer statement |
| number-only | the only number in the output |
| text-statement | the answer statement, compared as normalised text |
| text-exact | the whole output, compared as normalised text |
| text-contained | a statement that contains an accepted answer as whole words |
| text-option | the only member of a closed set that the output names |
| vqa, anls | the soft score of the whole output |
| vqa-statement, anls-statement | the soft score of the answer statement |
| empty | unparsed: nothing is left after thinking |
| thought-cut-off | unparsed: the output ends inside its thought |
| conflict | unparsed: letters, numbers or statements contradict each other, and none of them is marked as final |
| outside-options | unparsed: the letter is not among the options |
| no-letter, no-yes-no, no-number | unparsed: no answer of the expected type |
| denied | unparsed: the accepted text appears with a denial |
| alternatives | unparsed: the accepted text is one of several |
| mentioned | unparsed: the accepted text appears in passing |
| judge | a judge decided, because no rule could; never in `records.jsonl` (`gapbench.judging`) |

If statements contradict each other, "final answer", a box or an answer tag overrides "the answer is", which overrides
"I think". Among statements of equal weight the last one wins only after a change of mind ("wait", "actually", "but").

Limits: the rules are for English and Chinese. Scoring calls no model. It never gives the outcome `failed`, which is for
engines.
"""

from gapbench.scoring.outcome import Score, unparsed
from gapbench.scoring.rules import THOUGHT_CUT_OFF, score

__all__ = ["THOUGHT_CUT_OFF", "Score", "score", "unparsed"]
