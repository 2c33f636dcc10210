'use strict';

/**
 * Parses lines of the form "NAME PRICE".
 * @param {string} text
 * @returns {{name: string, cents: number}[]}
 */
exports.parse = function parse(text) {
  return text.split('\n').filter(Boolean).map((line) => {
    const [name, price] = line.split(/\s+/);
    return { name, cents: Math.round(Number(price) * 100) };
  });
};

exports.sum = (items) => items.reduce((total, item) => total + item.cents, 0);
