"""Outcomes: what an output answers, and whether that is right; never a guess.

    from gapbench.scoring import score
    score("The answer is (B) because A is wrong.", ["B"], "letter", ("red", "blue"))
    # Score(outcome='right', score=1.0, parsed='B', rule='letter-statement', reason='')

Thinking is removed, markup and typography are undone, then the rules of the answer type decide. The rule is recorded:

| rule | what decided |
|---|---|
| letter-statement | an answer statement that begins with a letter: "The answer is B", a box, "B is correct" |
| letter-bare | a letter alone on a line or set off at its start: "B", "b)", "B: red" |
| letter-mention | a bracketed letter or "option C" within prose |
| option-text | the output, or its answer statement, is exactly one option's text |
| yes-no-statement, yes-no-lead | an answer statement; a sentence that begins with yes or no |
| number-statement, number-only | an answer statement; the only number there is |
| text-statement, text-exact | the answer statement, or the whole output, compared as normalised text |
| text-contained | a statement that contains an accepted answer as whole words |
| text-option | the one member of a closed set that is named |
| vqa, anls (-statement) | the soft score of the whole output (of its answer statement) |
| empty, truncated-thinking | unparsed: nothing is left after thinking; the output ends within it |
| conflict | unparsed: different letters, numbers or statements, and nothing that makes one of them final |
| outside-options | unparsed: the letter is not among the options |
| no-letter, no-yes-no, no-number | unparsed: nothing that the answer type asks for |
| denied, alternatives, mentioned | unparsed: an accepted text is denied, one of several, or said in passing |
| judge | no rule decided, and a judge did; never in `records.jsonl` (`gapbench.judging`) |

Statements that contradict each other: "final answer", a box or an answer tag overrides "the answer is", which overrides
"I think"; among equals the last one wins only where the text marks a change of mind ("wait", "actually", "but").

Limits: rules for English and Chinese. No rule asks a model; `failed` is for engines and is never produced here.
"""

from gapbench.scoring.outcome import Score
from gapbench.scoring.rules import score

__all__ = ["Score", "score"]
