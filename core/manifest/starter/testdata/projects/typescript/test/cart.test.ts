import assert from 'node:assert';
import { test } from 'node:test';
import { total } from '../src/cart.js';

test('adds up', () => {
  assert.equal(total([250, 99]), 349);
});
