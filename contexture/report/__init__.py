"""The report of an audit: one HTML file that opens offline, and a picture for elsewhere."""

try:
    from contexture.report.page import render_report, write_report
    from contexture.report.picture import spectra_png
    from contexture.report.place import report_path, require_report_place
except ModuleNotFoundError as error:
    package = (error.name or "").partition(".")[0]
    if package not in {"jinja2", "matplotlib"}:
        raise
    raise ModuleNotFoundError(
        f"the report needs the package {package}; "
        "install it with: pip install 'contexture[report]'",
        name=error.name,
    ) from error

__all__ = ["render_report", "report_path", "require_report_place", "spectra_png", "write_report"]
