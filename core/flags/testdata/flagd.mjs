// Renews the answers in flagd.json with flagd's own evaluator: npm install @openfeature/flagd-core @openfeature/core,
// then node flagd.mjs flagd.json. What that evaluator refuses is left out: flagd's evaluators differ there.
import fs from 'node:fs';
import { FlagdCore } from '@openfeature/flagd-core';

const quiet = { error() {}, warn() {}, info() {}, debug() {} };
const kinds = { boolean: ['Boolean', false], string: ['String', ''], number: ['Number', 0], object: ['Object', {}] };
const path = process.argv[2];
const { file, contexts } = JSON.parse(fs.readFileSync(path, 'utf8'));
const core = new FlagdCore(undefined, quiet);
core.setConfigurations(JSON.stringify(file));

const answers = [];
for (const [flag, { variants, defaultVariant }] of Object.entries(file.flags)) {
  const [kind, zero] = kinds[typeof variants[defaultVariant]];
  for (const [i, context] of contexts.entries()) {
    try {
      const { variant, reason } = core[`resolve${kind}Evaluation`](flag, zero, context, quiet);
      if (reason !== 'ERROR') {
        answers.push([flag, i, variant, reason]);
      }
    } catch {
      continue;
    }
  }
}
const lines = (list) => `[\n${list.map((e) => JSON.stringify(e)).join(',\n')}\n]`;
const flags = Object.entries(file.flags).map(([name, d]) => `${JSON.stringify(name)}: ${JSON.stringify(d)}`);
fs.writeFileSync(path, `{
"file": {
"$evaluators": ${JSON.stringify(file.$evaluators)},
"metadata": ${JSON.stringify(file.metadata)},
"flags": {\n${flags.join(',\n')}\n}
},
"contexts": ${lines(contexts)},
"answers": ${lines(answers)}
}
`);
