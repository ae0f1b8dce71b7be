from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from contexture import ExpectationOperator, Spectrum, decompose, decompose_operator
from contexture.contexts import Features, Knn
from contexture.errors import InputError
from contexture.spectrum import fix_signs


@pytest.fixture
def spectrum() -> Spectrum:
    rng = np.random.default_rng(0)
    P = rng.dirichlet(np.full(6, 0.4), size=15)
    return decompose_operator(
        ExpectationOperator.from_conditional(P, rng.uniform(0.5, 2, 15), list("abcdef"))
    )


def test_shapes(spectrum: Spectrum) -> None:
    assert spectrum.rank == 5
    assert spectrum.left.shape == (15, 5)
    assert spectrum.right.shape == (6, 5)
    assert spectrum.eigenvalue_covariance.shape == (5, 5)
    np.testing.assert_array_equal(spectrum.eigenvalues, spectrum.singular_values**2)
    assert (spectrum.standard_error > 0).all()


def test_truncated_keeps_all_values(spectrum: Spectrum) -> None:
    part = spectrum.truncated(2)
    np.testing.assert_array_equal(part.singular_values, spectrum.singular_values)
    np.testing.assert_array_equal(part.left, spectrum.left[:, :2])
    np.testing.assert_array_equal(part.right, spectrum.right[:, :2])
    assert part.left.base is None  # a copy, so that the rest can be freed
    assert spectrum.truncated(99) is spectrum


def test_extension_to_the_rows_themselves(spectrum: Spectrum) -> None:
    P = np.random.default_rng(0).dirichlet(np.full(6, 0.4), size=15)
    for rows in (P, sparse.csr_array(P)):
        np.testing.assert_allclose(spectrum.extend(rows), spectrum.left, atol=1e-10)
    np.testing.assert_allclose(spectrum.extend(7 * P), spectrum.left, atol=1e-10)
    assert spectrum.truncated(2).extend(P).shape == (15, 2)


def test_extension_to_new_rows() -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(120, 3))
    whole = decompose(X, Knn(k=10), 5)
    assert not np.isnan(whole.left).any()
    new = sparse.csr_array((np.full(10, 0.1), (np.zeros(10, int), np.arange(10))), shape=(1, 120))
    expected = whole.right[:10].mean(axis=0) / whole.singular_values
    np.testing.assert_allclose(whole.extend(new)[0], expected)


def test_extension_gives_nothing_below_the_floor() -> None:
    P = np.array([[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0.5, 0.5], [0, 0.5, 0.5]])
    found = decompose_operator(ExpectationOperator.from_conditional(P))
    assert found.eigenvalues[1] == 0
    np.testing.assert_array_equal(np.isnan(found.extend(P)), [[False, True]] * 4)


def test_functions_of_one_draw_beside_means_over_several(spectrum: Spectrum) -> None:
    P = np.random.default_rng(0).dirichlet(np.full(6, 0.4), size=15)
    mean = replace(
        spectrum,
        singular_values=0.9 * spectrum.singular_values,
        function_values=spectrum.singular_values,
    )
    np.testing.assert_allclose(mean.extend(P), spectrum.left, atol=1e-10)
    part = mean.truncated(2)
    np.testing.assert_allclose(part.extend(P), spectrum.left[:, :2], atol=1e-10)
    data = part.to_dataset()
    np.testing.assert_array_equal(data["function_value"], spectrum.singular_values[:2])
    np.testing.assert_array_equal(data["singular_value"], mean.singular_values)
    assert data["function_value"].attrs["long_name"]
    assert "function_value" not in spectrum.to_dataset()


def test_messages(spectrum: Spectrum) -> None:
    with pytest.raises(InputError) as caught:
        spectrum.extend(np.ones((2, 5)))
    assert str(caught.value) == "the rows have 5 columns, but the spectrum has 6 context values."
    with pytest.raises(InputError) as caught:
        spectrum.extend(np.array([[1.0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]]))
    assert str(caught.value) == "row 1 puts no weight on any context value known here."
    for entry in (np.nan, np.inf, -0.5):
        row = np.array([[entry, 1.0, 0, 0, 0, 0]])
        for rows in (row, sparse.csr_array(row)):
            with pytest.raises(InputError) as caught:
                spectrum.extend(rows)
            message = "the rows hold negative, NaN or infinite entries; each must be a law."
            assert str(caught.value) == message


def test_dataset(spectrum: Spectrum) -> None:
    data = spectrum.truncated(3).to_dataset(np.arange(15) * 2)
    assert dict(data.sizes) == {"component": 5, "sample": 15, "function": 3, "context_value": 6}
    assert data["component"].values.tolist() == [1, 2, 3, 4, 5]
    assert data["function"].values.tolist() == [1, 2, 3]
    assert data["sample"].values.tolist() == list(range(0, 30, 2))
    assert data["context_value"].values.tolist() == list("abcdef")
    np.testing.assert_array_equal(data["singular_value"], spectrum.singular_values)
    np.testing.assert_array_equal(data["left"], spectrum.left[:, :3])
    assert data.attrs["components"] == 1
    assert data.attrs["total_association"] == spectrum.total_association
    assert spectrum.to_dataset()["sample"].values.tolist() == list(range(15))
    assert all(data[name].attrs["long_name"] for name in data.data_vars)


def test_signs() -> None:
    left = np.array([[1.0, -2.0, np.nan], [-3.0, 1.0, np.nan]])
    right = np.array([[5.0, 6.0, np.nan]])
    a, b = fix_signs(left, right)
    np.testing.assert_array_equal(a, [[-1, 2, np.nan], [3, -1, np.nan]])
    np.testing.assert_array_equal(b, [[-5, -6, np.nan]])
    empty = np.zeros((2, 0))
    assert fix_signs(empty, empty)[0].shape == (2, 0)


def test_text_ids_of_references() -> None:
    ids = np.array([f"id {i}" for i in range(30)], dtype=np.dtypes.StringDType())
    features = Features.from_array(np.random.default_rng(0).normal(size=(30, 2)), ids)
    found = decompose(features, Knn(k=3, reference=12))
    assert set(found.context_values.tolist()) <= set(ids.tolist())


def test_a_row_that_lost_nearly_all_its_mass_is_extended_in_single_precision_too(
    spectrum: Spectrum,
) -> None:
    single = replace(spectrum, right=spectrum.right.astype(np.float32))
    row = np.random.default_rng(1).dirichlet(np.full(6, 0.4), size=1)
    for rows in (row * 1e-60, sparse.csr_array(row * 1e-60)):
        np.testing.assert_allclose(single.extend(rows), spectrum.extend(row), rtol=1e-4)
