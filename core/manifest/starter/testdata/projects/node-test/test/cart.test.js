const assert = require('node:assert');
const { test } = require('node:test');
const { total } = require('../cart.js');

test('adds up', () => {
  assert.equal(total([250, 99]), 349);
});
