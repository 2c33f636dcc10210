// Run by `troop test generate`: reads the functions that a module exports, finds out which general properties hold
// for them, and prints a Mocha test of those that do. Node runs it without the right to write files and to start
// programs or threads.
import fs from 'node:fs';
import { createRequire } from 'node:module';
import { devNull } from 'node:os';
import path from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { pathToFileURL } from 'node:url';

const [file, out, only] = process.argv.slice(2);
const SEED = 20, RUNS = 300; // of the tests; finding properties takes ten times as many

// fast-check comes from the project: the generated tests import it too.
const fc = createRequire(path.resolve(file))('fast-check');

const source = fs.readFileSync(file, 'utf8');
const subject = await import(pathToFileURL(path.resolve(file)));
const exported = { ...(subject.default && typeof subject.default === 'object' ? subject.default : {}), ...subject };
const wanted = only ? only.split(',') : Object.keys(exported);
const skipped = [], suites = [];

for (const name of wanted) {
  const f = exported[name];
  if (typeof f !== 'function') {
    if (only) skipped.push([name, 'not an exported function']);
    continue;
  }
  const reason = unsuitable(f, Boolean(only));
  const parameters = reason ? [] : read(name, f);
  const bad = parameters.find((p) => p.arbitrary === null);
  if (reason || bad || parameters.length === 0) {
    skipped.push([name, reason || (bad ? `cannot make values for ${bad.name}` : 'takes no parameters')]);
    continue;
  }
  const properties = tryOut(f, parameters);
  if (properties.length === 0) {
    skipped.push([name, 'no general property holds']);
  } else {
    suites.push(suite(name, parameters, properties));
  }
}

console.log(JSON.stringify({ skipped, seed: SEED, functions: suites.length, text: suites.length > 0 ? text() : '' }));
process.exit(0); // the module may keep something open

// Why a function must not be called with made-up values; naming it in --only overrules that. Reading files is
// harmless, and Node denies the rest.
function unsuitable(f, asked) {
  const body = f.toString();
  if (/^class\b/.test(body)) return 'a class';
  if (asked) return '';
  if (/^async\b|^function\s*\*/.test(body)) return 'asynchronous, or a generator';
  const reads = /\bfs\.(existsSync|statSync|lstatSync|accessSync|readFileSync|readdirSync|constants)\b/g;
  if (/\b(fs|process|console|child_process|net|http|https)\.|\b(fetch|require|setTimeout|setInterval)\(|\bimport\(|\bnew Worker\b/.test(body.replace(reads, ''))) {
    return 'uses more than its arguments';
  }
  return '';
}

// The parameters with the values to try: the type comes from the JSDoc comment, the constants come from the source,
// so that its branches are reached.
function read(name, f) {
  const doc = new RegExp(`/\\*\\*((?:(?!\\*/)[^])*)\\*/\\s*(?:export\\s+)?(?:default\\s+)?(?:function|const|let)\\s+${name}\\b`).exec(source);
  const tags = [...(doc ? doc[1] : '').matchAll(/@param\s+\{((?:[^{}]|\{[^{}]*\})*)\}\s+\[?([\w$]+)\]?/g)];
  const own = literals(f.toString()), all = literals(f.toString() + source); // tables stand beside the function
  const constants = { ...all, own };
  return list(f.toString()).map((p, i) => {
    const tag = tags.find((t) => t[2] === p.name) || (p.name.startsWith('{') && tags[i]) || [];
    return { name: p.name, arbitrary: arbitrary(tag[1], p, constants) };
  });
}

function list(body) {
  const head = /^(?:function\s*[\w$]*\s*)?\(?/.exec(body)[0].length;
  const names = [];
  let depth = 0, word = '';
  for (const c of body.slice(head)) {
    if ('([{'.includes(c)) depth++;
    if (')]}'.includes(c) && depth-- === 0) break;
    if ((c === ',' || c === '=') && depth === 0) {
      if (c === '=' && body[head - 1] !== '(') break; // x => …
      names.push(word);
      word = '';
      if (c === '=') word = '=';
    } else {
      word += c;
    }
  }
  names.push(word);
  return names.map((w) => w.trim()).filter((w) => w && !w.startsWith('=')).map((w) => ({ name: w.replace(/^\.\.\./, ''), rest: w.startsWith('...') }));
}

function literals(body) {
  const strings = [...body.matchAll(/'((?:[^'\\\n]|\\.)*)'|"((?:[^"\\\n]|\\.)*)"/g)].map((m) => m[1] ?? m[2]).filter((s) => !/[\\$]|^\.{0,2}\/|^node:/.test(s) && s.length <= 40);
  const numbers = [...body.matchAll(/(?<![\w.'"])-?\d+(?:\.\d+)?(?![\w'"])/g)].map((m) => Number(m[0])).flatMap((n) => [n - 1, n, n + 1]);
  const given = (method) => [...body.matchAll(new RegExp(`\\.${method}\\((['"])((?:(?!\\1)[^\\\\\n])*)\\1\\)`, 'g'))].map((m) => m[2]);
  for (const start of given('startsWith')) strings.push(`${start}1`, ...given('endsWith').map((end) => start + end));
  const dates = strings.filter((s) => /^\d{4}-\d\d-\d\d/.test(s) && !Number.isNaN(Date.parse(s))).flatMap((s) => [-1, 0, 1].map((day) => new Date(Date.parse(s) + day * 864e5).toISOString().slice(0, 10)));
  const lengths = /\.length\b/.test(body) ? numbers.filter((n) => Number.isInteger(n) && n > 0 && n <= 64) : [];
  return {
    strings: [...new Set(strings)].slice(0, 30), numbers: [...new Set(numbers)].slice(0, 60), dates: [...new Set(dates)].slice(0, 12),
    lengths: [...new Set(lengths)].slice(0, 12).flatMap((n) => ['1'.repeat(n), ...given('split').map((s) => Array(n).fill('a').join(s))]), matching: matching(body),
  };
}

// Strings that match the regular expressions of a source, and some that just miss them.
function matching(body) {
  const list = [];
  for (const [, pattern, flags] of body.matchAll(/(?:[(,=:[!&|?{};]|\breturn)\s*\/((?:[^\/\\\n[*]|\\.|\[(?:[^\]\\\n]|\\.)*\])(?:[^\/\\\n[]|\\.|\[(?:[^\]\\\n]|\\.)*\])*)\/([dgimsuvy]*)/g)) {
    let expression;
    try {
      expression = new RegExp(pattern, flags.replace(/[gy]/g, ''));
    } catch {
      continue; // a division
    }
    for (const more of [0, 1, 3]) {
      const s = example(pattern, more);
      if (!expression.test(s) || s.length > 60) continue;
      list.push(s, s.slice(0, -1), `${s}0`, ` ${s}`);
    }
  }
  return [...new Set(list)].slice(0, 40);
}

// A string for a pattern: the first of alternatives in turn, repetitions as often as they must be, and `more`.
// What it does not understand makes a string that does not match, and is left out.
function example(pattern, more) {
  let at = 0;
  const alternatives = () => {
    const all = [''];
    while (at < pattern.length && pattern[at] !== ')') {
      if (pattern[at] === '|') {
        at++;
        all.push('');
      } else {
        all[all.length - 1] += repeated();
      }
    }
    return all[more % all.length];
  };
  const repeated = () => {
    const start = at;
    const one = atom();
    const [, star, low, comma, high] = /^(?:([*+?])|\{(\d+)(,?)(\d*)\})?\??/.exec(pattern.slice(at)) || [];
    at += /^(?:[*+?]|\{\d+,?\d*\})?\??/.exec(pattern.slice(at))[0].length;
    let times = 1;
    if (star) times = (star === '+' ? 1 : 0) + more;
    if (star === '?') times = Math.min(more, 1);
    if (low) times = comma ? Math.min(Number(low) + more, high ? Number(high) : Infinity) : Number(low);
    let s = one;
    for (let i = 1; i < Math.min(times, 60); i++) {
      const end = at;
      at = start;
      s += atom();
      at = end;
    }
    return times === 0 ? '' : s;
  };
  const classes = { d: '0', w: 'a', s: ' ', D: 'a', W: ' ', S: 'a', b: '', B: '', n: '\n', t: '\t', r: '\r' };
  const atom = () => {
    const c = pattern[at++];
    if (c === '^' || c === '$') return '';
    if (c === '.') return 'a';
    if (c === '\\') {
      const escaped = pattern[at++];
      return classes[escaped] ?? escaped;
    }
    if (c === '(') {
      const [prefix] = /^\?(?:[:=]|<\w+>)?/.exec(pattern.slice(at)) || [''];
      at += prefix.length;
      const s = alternatives();
      at++;
      return prefix === '?=' ? '' : s;
    }
    if (c !== '[') return c;
    const end = /^(?:[^\]\\]|\\.)*\]/.exec(pattern.slice(at))[0];
    at += end.length;
    if (end[0] === '^') return [...'a0 -'].find((x) => new RegExp(`[${end}`).test(x)) ?? '';
    return end[0] === '\\' ? classes[end[1]] ?? end[1] : end[0];
  };
  return alternatives();
}

// Source text of an arbitrary: what is tried is what is written. null: none is known for the type.
function arbitrary(type, parameter, constants) {
  if (parameter.rest || (/[{[]/.test(parameter.name) && type === undefined)) return null;
  const name = parameter.name;
  const dates = [...constants.dates, '2023-12-31', '2024-01-01', '2024-02-28', '2024-02-29', '2023-03-01', '2024-07-05', '2024-07-06', '2024-07-07', '1970-01-01', '2100-02-28'];
  const { own } = constants;
  const extra = [...constants.matching, ...constants.lengths, ...constants.numbers.slice(0, 12).map(String)];
  if (/date|day|when|time|birth|since|until|from|expir/i.test(name)) extra.push(...dates, 'not a date', '2023-02-29', '2024-13-01');
  if (/phone|tel|mobile|fax|number/i.test(name)) extra.push('+12125550100', '+1 (212) 555-0100', '+44 1632 960001', '0049 30 23125000', '030 23125000', '23125000', '112', '+', '');
  const paths = /^(?:path|file|dir|folder)|(?:path|file|filename|dir|folder)$/i.test(name);
  const chosen = (values) => (values.length > 0 ? [`fc.constantFrom(${[...new Set(values)].map(quoted).join(', ')})`] : []);
  const strings = mixed('fc.string()', [...new Set([...constants.strings, ...extra])], ...chosen([...own.strings, ...own.matching, ...own.lengths]), ...(paths ? ['fc.constantFrom(here.file, here.folder, here.missing, here.empty)'] : []));
  const days = `fc.oneof(fc.date({ noInvalidDate: true }), fc.constantFrom(${[...new Set(dates)].map(quoted).join(', ')}).map((day) => new Date(day)))`;
  const numbers = mixed('fc.integer()', constants.numbers, 'fc.double({ noNaN: true })', ...chosen(own.numbers));
  const known = (t) => {
    const bare = t.trim().replace(/^[?!]|=$/g, '');
    const element = /^(?:Array<(.+)>|(.+)\[\])$/.exec(bare);
    if (element) {
      const inner = known(element[1] ?? element[2]);
      return inner && `fc.array(${inner})`;
    }
    if (/^\{.*\}$/.test(bare)) {
      const fields = bare.slice(1, -1).split(',').map((field) => field.split(':').map((word) => word.trim()));
      const inner = fields.map(([key, of]) => [key, of && known(of)]);
      return inner.some(([, of]) => !of) ? null : `fc.record({ ${inner.map(([key, of]) => `${key}: ${of}`).join(', ')} })`;
    }
    switch (bare) {
      case 'string': return strings;
      case 'number': return numbers;
      case 'integer': case 'int': return mixed('fc.integer()', constants.numbers.filter(Number.isInteger));
      case 'boolean': return 'fc.boolean()';
      case 'Buffer': return 'fc.uint8Array().map((bytes) => Buffer.from(bytes))';
      case 'Uint8Array': return 'fc.uint8Array()';
      case 'Date': return days;
      case 'null': return 'fc.constant(null)';
      case 'undefined': return 'fc.constant(undefined)';
      case 'Object<string, string>': case 'Object<string,string>': return `fc.dictionary(${strings}, ${strings})`;
      case 'Object': case 'object': return 'fc.object()';
      case '*': case 'any': return 'fc.anything()';
    }
    return null;
  };
  if (type === undefined) return `fc.oneof(${strings}, ${numbers}, fc.boolean(), fc.constant(undefined), fc.constant(null)${/date|day|when|time|birth|since|until/i.test(name) ? `, ${days}` : ''})`;
  const parts = type.replace(/^\((.*)\)$/, '$1').split('|').map(known);
  if (parts.includes(null)) return null;
  return parts.length === 1 ? parts[0] : `fc.oneof(${parts.join(', ')})`;
}

function mixed(general, values, ...more) {
  const parts = [general, ...more];
  if (values.length > 0) parts.push(`fc.constantFrom(${values.map((v) => quoted(v)).join(', ')})`);
  return parts.length === 1 ? parts[0] : `fc.oneof(${parts.join(', ')})`;
}

function quoted(v) {
  return typeof v === 'string' ? `'${v.replace(/\\/g, '\\\\').replace(/'/g, "\\'")}'` : Object.is(v, -0) ? '0' : String(v);
}

function tryOut(f, parameters) {
  const here = { file: path.resolve(file), folder: path.dirname(path.resolve(file)), missing: `${path.resolve(file)}.missing`, empty: devNull };
  const input = new Function('fc', 'here', `return fc.tuple(${parameters.map((p) => p.arbitrary).join(', ')})`)(fc, here);
  const samples = fc.sample(input, { seed: SEED, numRuns: RUNS * 10 });
  const call = (args) => {
    try {
      return { value: f(...args) };
    } catch (error) {
      return { error: error instanceof Error ? error.constructor.name : typeof error };
    }
  };
  let same = true, kept = true, again = parameters.length === 1;
  const types = new Set(), errors = new Set(), values = new Set();
  for (const args of samples) {
    const copy = structuredClone(args);
    const first = call(args);
    kept &&= isDeepStrictEqual(args, plain(copy, args));
    same &&= isDeepStrictEqual(first, call(args));
    if (first.error) {
      errors.add(first.error);
      again = false;
      continue;
    }
    types.add(kind(first.value));
    if (values.size < 6) values.add(first.value);
    again &&= isDeepStrictEqual(call([first.value]).value, first.value);
  }
  const simple = [...values].every((v) => v === null || !String(v).includes(here.folder) && ['string', 'number', 'boolean', 'undefined'].includes(typeof v));
  if (types.size === 0 || !same) return []; // never an answer, or one that depends on more than the arguments
  const properties = ['same'];
  if (errors.size === 0) properties.push('total');
  else properties.push({ errors: [...errors].sort() });
  if (kept) properties.push('kept');
  if (values.size > 1 && values.size < 6 && simple && ![...values].some(Number.isNaN)) properties.push({ values: [...values].sort((a, b) => (String(a) < String(b) ? -1 : 1)) });
  else if (types.size < 4) properties.push({ types: [...types].sort() });
  if (again && !types.has('undefined')) properties.push('again');
  return properties;
}

// structuredClone makes plain arrays of bytes out of Buffers.
function plain(copy, args) {
  return copy.map((v, i) => (Buffer.isBuffer(args[i]) ? Buffer.from(v) : v));
}

function kind(v) {
  return v === null ? 'null' : Array.isArray(v) ? 'array' : typeof v;
}

function suite(name, parameters, properties) {
  const args = parameters.map((p) => p.name).join(', ');
  const f = /^[\w$]+$/.test(name) && name !== 'default' ? `subject.${name}` : `subject['${name}']`;
  const input = parameters.map((p) => `    ${p.arbitrary},\n`).join('');
  const it = (title, body) => `\n  it('${title}', () => {\n    fc.assert(fc.property(input, (args) => {\n${body}    }), runs);\n  });\n`;
  const throwing = properties.some((p) => p.errors);
  const guarded = (line) => (throwing ? `      const answer = attempt(${f}, args);\n      if ('value' in answer) {\n        ${line}\n      }\n` : `      const answer = { value: ${f}(...args) };\n      ${line}\n`);
  const tests = properties.map((p) => {
    if (p === 'total') return it('answers whatever it is given', `      ${f}(...args);\n`);
    if (p === 'same') return it('answers the same to the same', `      assert.deepEqual(attempt(${f}, args), attempt(${f}, args));\n`);
    if (p === 'kept') return it('leaves its arguments as they were', `      const before = inspect(args, { depth: 9 });\n      attempt(${f}, args);\n      assert.equal(inspect(args, { depth: 9 }), before);\n`);
    if (p === 'again') return it('changes nothing when it is applied twice', `      const once = ${f}(...args);\n      assert.deepEqual(${f}(once), once);\n`);
    if (p.errors) return it(`throws nothing but ${p.errors.join(' or ')}`, `      const answer = attempt(${f}, args);\n      assert.ok('value' in answer || ${JSON.stringify(p.errors).replace(/"/g, "'")}.includes(answer.error), answer.error);\n`);
    if (p.values) return it('answers with one of its known values', guarded(`assert.ok([${p.values.map(quoted).join(', ')}].includes(answer.value), inspect(answer.value));`));
    return it(`answers with ${p.types.join(' or ')}`, guarded(`assert.ok([${p.types.map(quoted).join(', ')}].includes(kind(answer.value)), inspect(answer.value));`));
  });
  return `describe('${name}(${args})', () => {\n  const input = fc.tuple(\n${input}  );\n${tests.join('')}});\n`;
}

function text() {
  const body = suites.join('\n');
  let from = path.relative(path.dirname(path.resolve(out)), path.resolve(file)).split(path.sep).join('/');
  if (!from.startsWith('.')) from = `./${from}`;
  const modules = source.includes('module.exports') || path.extname(file) === '.cjs';
  const helpers = [], before = [];
  if (body.includes('attempt(')) helpers.push(`function attempt(f, args) {\n  try {\n    return { value: f(...args) };\n  } catch (error) {\n    return { error: error instanceof Error ? error.constructor.name : typeof error };\n  }\n}\n`);
  if (body.includes('here.')) before.push(`// A file that exists, its folder, a file that does not, and one without content.\nconst here = { file: ${modules ? '__filename' : 'fileURLToPath(import.meta.url)'}, folder: ${modules ? '__dirname' : "fileURLToPath(new URL('.', import.meta.url))"}, missing: ${modules ? '__filename' : 'fileURLToPath(import.meta.url)'} + '.missing', empty: devNull };\n`);
  if (body.includes('kind(')) helpers.push(`function kind(v) {\n  return v === null ? 'null' : Array.isArray(v) ? 'array' : typeof v;\n}\n`);
  const imports = modules ?
    `const assert = require('node:assert').strict;\n${body.includes('here.') ? "const { devNull } = require('node:os');\n" : ''}const { inspect } = require('node:util');\nconst fc = require('fast-check');\nconst subject = require('${from}');\n` :
    `import { strict as assert } from 'node:assert';\n${body.includes('here.') ? "import { devNull } from 'node:os';\nimport { fileURLToPath } from 'node:url';\n" : ''}import { inspect } from 'node:util';\nimport fc from 'fast-check';\nimport * as subject from '${from}';\n`;
  return `// Written by \`troop test generate\`: properties that ${path.basename(file)} had then, for values of the types in its
// comments and the constants in its source. Write it anew when the module is meant to behave differently.
${modules ? "'use strict';\n" : ''}${body.includes('inspect(') ? imports : imports.replace(/^.*inspect.*\n/m, '')}
// A fixed seed, so that a gate does not fail by chance. Take it out to look for more.
const runs = { seed: ${SEED}, numRuns: ${RUNS} };
${before.join('')}
${body}${helpers.length > 0 ? '\n' : ''}${helpers.join('\n')}`;
}
