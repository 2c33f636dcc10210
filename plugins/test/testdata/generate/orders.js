'use strict';

const fs = require('node:fs');

/**
 * @param {number} weight in kilograms
 * @param {string} country
 */
function shipping(weight, country) {
  if (weight <= 0) {
    throw new RangeError('nothing to ship');
  }
  let price = 5;
  if (weight > 30) {
    price = 40;
  } else if (weight > 10) {
    price = 15;
  }
  if (country === 'CH') {
    price += 8;
  } else if (country === 'US') {
    price += 20;
    if (weight > 70) {
      price += 100;
    }
  }
  return price;
}

/** @param {number} score */
function grade(score) {
  if (!Number.isInteger(score)) {
    return 'none';
  }
  if (score === 100) {
    return 'perfect';
  }
  if (score >= 90) {
    return 'good';
  }
  if (score >= 50) {
    return 'fair';
  }
  return 'poor';
}

/** @param {Date} date */
function dayKind(date) {
  const day = date.getUTCDay();
  const month = date.getUTCMonth() + 1;
  if (month === 12 && date.getUTCDate() === 31) {
    return 'closed';
  }
  if (month === 2 && date.getUTCDate() === 29) {
    return 'leap day';
  }
  if (day === 0 || day === 6) {
    return 'weekend';
  }
  return 'workday';
}

/** @param {string} birthDate */
function ageGroup(birthDate) {
  const time = Date.parse(birthDate);
  if (Number.isNaN(time)) {
    return 'unknown';
  }
  const years = (Date.parse('2024-07-01') - time) / 31557600000;
  if (years < 0) {
    return 'unborn';
  }
  if (years < 18) {
    return 'minor';
  }
  if (years < 65) {
    return 'adult';
  }
  return 'senior';
}

/** @param {string} phone */
function phoneKind(phone) {
  const digits = phone.replace(/[ ()\/-]/g, '');
  if (/^\+?1[2-9]\d{9}$/.test(digits)) {
    return 'north america';
  }
  if (/^(?:\+49|0049)\d{6,11}$/.test(digits)) {
    return 'germany';
  }
  if (/^(?:110|112|911)$/.test(digits)) {
    return 'emergency';
  }
  if (digits.startsWith('+')) {
    return 'abroad';
  }
  if (digits.length > 15) {
    return 'too long';
  }
  return 'local';
}

/** @param {string} path */
function settings(path) {
  if (!fs.existsSync(path)) {
    return 'missing';
  }
  const info = fs.statSync(path);
  if (info.isDirectory()) {
    return 'folder';
  }
  const text = fs.readFileSync(path, 'utf8');
  if (text.length === 0) {
    return 'empty';
  }
  return 'there';
}

/**
 * @param {string} code
 * @param {number} total
 */
function discount(code, total) {
  let rate = 0;
  if (code === 'WELCOME') {
    rate = 10;
  } else if (code.startsWith('VIP-')) {
    rate = 25;
    if (code.endsWith('-GOLD')) {
      rate = 40;
    }
  } else if (/^S\d{2}-[A-F]{3}$/.test(code)) {
    rate = 30;
  }
  if (total > 1000 && rate > 0) {
    rate += 5;
  }
  return rate;
}

/** @param {string} text */
function words(text) {
  const list = text.split(' ');
  if (list.length > 3) {
    return 'many';
  }
  if (list.length === 1) {
    return 'one';
  }
  return 'few';
}

module.exports = { shipping, grade, dayKind, ageGroup, phoneKind, settings, discount, words };
