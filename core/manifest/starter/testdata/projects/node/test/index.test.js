'use strict';

const assert = require('node:assert');
const { parse, sum } = require('../lib');

describe('price list', () => {
  it('parses lines', () => {
    assert.deepStrictEqual(parse('tea 2.50\n'), [{ name: 'tea', cents: 250 }]);
  });

  it('sums items', () => {
    assert.strictEqual(sum(parse('tea 2.50\nmilk 0.99\n')), 349);
  });
});
