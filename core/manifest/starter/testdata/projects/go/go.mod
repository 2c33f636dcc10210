module github.com/basket/pricelist/v2

go 1.24
