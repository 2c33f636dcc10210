'use strict';

const assert = require('node:assert').strict;
const { describe, it } = require('node:test');
const orders = require('../lib/orders.js');

describe('orders', () => {
  it('ships', () => {
    assert.equal(orders.shipping(1, 'DE'), 5);
    assert.equal(orders.shipping(20, 'CH'), 23);
    assert.throws(() => orders.shipping(0, 'DE'));
  });
  it('grades', () => {
    assert.equal(orders.grade(95), 'good');
    assert.equal(orders.grade(60), 'fair');
    assert.equal(orders.grade(9), 'poor');
    assert.equal(orders.grade(100), 'perfect');
  });
  it('knows days', () => {
    assert.equal(orders.dayKind(new Date('2024-07-06')), 'weekend');
    assert.equal(orders.dayKind(new Date('2024-07-05')), 'workday');
  });
  it('knows ages', () => {
    assert.equal(orders.ageGroup('2014-01-01'), 'minor');
    assert.equal(orders.ageGroup('1984-01-01'), 'adult');
  });
  it('knows phones', () => {
    assert.equal(orders.phoneKind('+1 (212) 555-0100'), 'north america');
    assert.equal(orders.phoneKind('23125000'), 'local');
    assert.equal(orders.phoneKind('112'), 'emergency');
    assert.equal(orders.phoneKind('+81 3 1234'), 'abroad');
  });
  it('counts words', () => {
    assert.equal(orders.words('one'), 'one');
    assert.equal(orders.words('one two'), 'few');
  });
  it('finds settings', () => {
    assert.equal(orders.settings(__dirname), 'folder');
  });
  it('discounts', () => {
    assert.equal(orders.discount('WELCOME', 10), 10);
    assert.equal(orders.discount('WELCOME', 2000), 15);
  });
});
