from enformer_keras.formats.safe_names import safe_names


def test_names_are_safe_and_distinct():
    texts = ["ENCFF1", "CAGE:brain, adult/x", "../up", "a", "A", "a_7", "", "ü" * 300]
    names = safe_names(texts, [0, 1, 2, 3, 7, 5, 6, 9])
    assert names == [
        *("ENCFF1", "CAGE_brain__adult_x", "_._up", "a_3", "A_7_7", "a_7_5", "_", "_" * 150),
    ]
    assert safe_names(["a-b.c", "a b"], [4, 5], "_") == ["a_b_c", "a_b"]
    assert safe_names(["x"] * 3, range(3)) == ["x_0", "x_1", "x_2"]
