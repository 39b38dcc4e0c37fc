"""The paper: experiments to run, and the tables, figures and numbers that are made of their results alone.

``profiles`` says what is run, ``studies`` runs it, ``published`` holds what others reported, ``accounting`` and
``training`` put ours beside it, ``tables``, ``figures`` and ``latex`` write it down.
"""
