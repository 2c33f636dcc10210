// The log: one JSON object a line, to LOG_DIR/app.log or to standard output.
import fs from 'node:fs';
import path from 'node:path';

const CHECK_MS = 1000;

/**
 * Opens the log. A file that was renamed or removed is let go within a second, busy or idle, and a new one
 * is made under the old name: whoever moves the log away gets a file that nobody writes to any more.
 * A disk that is full costs lines, never requests.
 *
 * @param {string} dir empty: standard output
 * @param {{write: function(string)}} [out] instead of standard output
 */
export function createAccessLog(dir, out = process.stdout) {
  if (!dir) {
    return {
      write: (entry) => out.write(line(entry)),
      reopen() {},
      close: (done) => done(),
    };
  }

  const file = path.join(dir, 'app.log');
  fs.mkdirSync(dir, { recursive: true });
  let fd = open(file);
  let lost = 0;

  function reopen() {
    const old = fd;
    try {
      fd = open(file);
    } catch {
      return; // keep writing to the old file rather than to none
    }
    fs.closeSync(old);
  }

  function check() {
    if (!isSame(fd, file)) {
      reopen();
    }
  }

  // Synchronous appends: a line is in the file before its response has left the host, and none is
  // buffered in the process when it is killed.
  function write(entry) {
    try {
      fs.writeSync(fd, line(lost > 0 ? { ...entry, lost } : entry));
      lost = 0;
    } catch {
      lost++;
    }
  }

  const timer = setInterval(check, CHECK_MS);
  timer.unref();

  return {
    write,
    reopen,
    close(done) {
      clearInterval(timer);
      fs.closeSync(fd);
      done();
    },
  };
}

function open(file) {
  return fs.openSync(file, 'a', 0o640);
}

// A name can be given to another file, an inode cannot while the file is open.
function isSame(fd, file) {
  const mine = fs.fstatSync(fd);
  const there = fs.statSync(file, { throwIfNoEntry: false });
  return there !== undefined && there.ino === mine.ino && there.dev === mine.dev;
}

function line(entry) {
  return JSON.stringify({ time: new Date().toISOString(), ...entry }) + '\n';
}

/** Express middleware that logs each request when it has been answered or its client has gone. */
export function accessLog(log) {
  return (req, res, next) => {
    const start = process.hrtime.bigint();
    res.once('close', () => {
      log.write({
        level: 'info',
        message: 'request',
        method: req.method,
        url: req.originalUrl.slice(0, 512),
        status: res.statusCode,
        bytes: Number(res.getHeader('content-length') || 0),
        ms: Number(process.hrtime.bigint() - start) / 1e6,
        remote: req.ip,
        complete: res.writableFinished,
      });
    });
    next();
  };
}
