"""Judging: how good fills look and how well removal works, methods side by side on the same photos and holes (extra `eval`).

`objremove evaluate filling` cuts holes into photos whose content is known; `objremove evaluate removal` removes labelled objects.
Both go through `Remover`, so that what is judged is what users get. docs/evaluation.md says what each figure means.
"""
