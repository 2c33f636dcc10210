const { total } = require('../cart.js');

describe('cart', () => {
  test('adds up', () => {
    expect(total([250, 99])).toBe(349);
  });
});
