"""The one error that the results module raises."""


class ResultsError(Exception):
    """Results could not be written or read. The message is one sentence that names the file or column, and the fix.

    Example:
      >>> str(ResultsError("no result.json below outputs/: give the folder of a sweep"))
      'no result.json below outputs/: give the folder of a sweep'
    """
