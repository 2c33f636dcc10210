import unittest

import pricelist


class PriceList(unittest.TestCase):
    def test_total(self):
        self.assertEqual(pricelist.total(pricelist.parse("tea 250\nmilk 99\n")), 349)

    def test_parse_refuses(self):
        with self.assertRaises(ValueError):
            pricelist.parse("tea\n")


if __name__ == "__main__":
    unittest.main()
