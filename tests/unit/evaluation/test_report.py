from pipeline.evaluation.report import to_markdown


def test_a_row_for_each_figure_and_a_column_for_each_checkpoint() -> None:
    table = to_markdown({"main untrained": {"roc_auc": 0.5}, "main step 5": {"roc_auc": 0.91234, "eer": 0.1}})
    assert table.splitlines() == [
        "| | main untrained | main step 5 |",
        "|---|---|---|",
        "| roc_auc | 0.5000 | 0.9123 |",
        "| eer |  | 0.1000 |",
    ]
