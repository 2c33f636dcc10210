// Two of Mocha's own reporters at once: lines for people on the terminal, XML for the pipeline in reports/.
'use strict';
const { reporters } = require('mocha');

module.exports = class Both {
  constructor(runner, options) {
    new reporters.Spec(runner, options);
    this.xml = new reporters.XUnit(runner, {
      ...options,
      reporterOptions: { output: 'reports/junit.xml', suiteName: 'storefront' },
    });
  }

  done(failures, end) {
    this.xml.done(failures, end);
  }
};
