"""What CSV files may look like."""

from pathlib import Path

import numpy as np
import pytest

from lonetree_ml.table import read_table


@pytest.mark.parametrize(
    "content",
    [
        "a,b\n1,2\n,-4e-1\n",
        "\ufeffa,b\r\n1,2\r\nNaN,-0.4\r\n",
        ' a , b \n 1 ,"2 "\n null ,-.4\n\n',
        "b,c,a\n2,text,1\n-0.4,more text,NA",
    ],
)
def test_names_find_their_columns_and_empty_cells_are_missing(tmp_path: Path, content: str) -> None:
    (tmp_path / "rows.csv").write_text(content, encoding="utf-8", newline="")
    table = read_table(tmp_path / "rows.csv", ["a", "b"])
    assert table.features == ["a", "b"]
    np.testing.assert_array_equal(table.rows, [[1, 2], [np.nan, -0.4]])
    assert table.labels is None


def test_without_names_all_columns_but_the_label_are_features(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,y,b\n1,0,2\ninf,2,1e400\n")
    table = read_table(tmp_path / "rows.csv", label="y")
    assert table.features == ["a", "b"]
    np.testing.assert_array_equal(table.rows, [[1, 2], [np.inf, np.inf]])
    np.testing.assert_array_equal(table.labels, [0, 1])


def test_a_blank_line_is_passed_over_unless_it_is_the_missing_value_of_an_only_column(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n\n3,4\n")
    np.testing.assert_array_equal(read_table(tmp_path / "rows.csv").rows, [[1, 2], [3, 4]])
    (tmp_path / "rows.csv").write_text("a\n1\n\n3\n")
    np.testing.assert_array_equal(read_table(tmp_path / "rows.csv").rows, [[1], [np.nan], [3]])


def test_an_npz_has_rows_in_x_and_labels_in_y(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", X=np.arange(6, dtype=np.int32).reshape(3, 2), y=np.array([[0], [1], [3]]))
    table = read_table(tmp_path / "d.npz", ["a", "b"])
    assert table.rows.dtype == np.float64
    np.testing.assert_array_equal(table.rows, [[0, 1], [2, 3], [4, 5]])
    np.testing.assert_array_equal(table.labels, [0, 1, 1])
