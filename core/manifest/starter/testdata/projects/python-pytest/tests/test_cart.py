from cart import total


def test_adds_up():
    assert total([250, 99]) == 349
