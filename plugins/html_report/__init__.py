"""report.html: a run or a comparison as one page, with its episodes, that needs no network."""
