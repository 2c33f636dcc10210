// The routes. Everything with a life of its own (store, flags, load, log) is handed in.
import { fileURLToPath } from 'node:url';
import express from 'express';
import multer from 'multer';
import { accessLog } from './accesslog.js';
import { find } from './goods.js';
import { imageType } from './images.js';
import { LIMITS } from './load.js';
import * as pages from './pages.js';

const FEATURE = 'new-feature';
const UPLOAD_BYTES = 1024 * 1024;
const publicDir = fileURLToPath(new URL('../public', import.meta.url));

/**
 * @param {Object} parts
 * @param {Object} parts.config what lib/config.js returns
 * @param {{ready: boolean}} parts.state whether the process wants requests; /healthz says so to the router
 * @param {Object} parts.store pages and pictures, of lib/store.js
 * @param {{isOn: function(string): Promise<boolean>}} parts.flags of lib/flags.js
 * @param {Object} parts.load of lib/load.js
 * @param {{write: function(Object)}} parts.log of lib/accesslog.js
 * @returns {express.Application}
 */
export function createApp({ config, state, store, flags, load, log }) {
  const app = express();
  app.disable('x-powered-by');
  app.set('trust proxy', 'loopback, linklocal, uniquelocal'); // the router is the only one who can reach the port

  // Before the access log: a check every second from each router is no traffic.
  app.get('/healthz', (req, res) => {
    res.set('Cache-Control', 'no-store').status(state.ready ? 200 : 503).json({ ready: state.ready });
  });

  app.use(accessLog(log));
  app.use(headers);
  app.use('/static', express.static(publicDir, { maxAge: '1h' }));
  app.get('/version', (req, res) => {
    res.json({ release: config.release, commit: config.version });
  });

  // A visit is recorded after its page was sent: the list is for the next visitor, and nobody waits for it.
  app.get('/', async (req, res) => {
    const recent = await store.recent();
    res.send(pages.front(context(req), { recent, feature: await flags.isOn(FEATURE) }));
    await store.visit('/');
  });

  app.get('/goods/:slug', async (req, res) => {
    const thing = find(req.params.slug);
    if (!thing) {
      return missing(req, res);
    }
    res.send(pages.item(context(req), thing));
    await store.visit(req.path);
  });

  // Asked anew for every request: the flag may change between two of them.
  app.get('/feature', async (req, res) => {
    if (!await flags.isOn(FEATURE)) {
      return missing(req, res);
    }
    res.send(pages.feature(context(req)));
    await store.visit(req.path);
  });

  gallery();
  provokeLoad();
  app.use(missing);
  app.use(failed);
  return app;

  function context(req) {
    return { config, path: req.path };
  }

  function missing(req, res) {
    res.status(404).send(pages.problem(context(req), 'Not here', 'There is no such page in this part of the forest.'));
  }

  // Express knows an error handler by its four parameters.
  function failed(error, req, res, next) {
    log.write({ level: 'error', message: error.message, stack: error.stack, url: req.originalUrl });
    if (res.headersSent) {
      return next(error);
    }
    const status = error.status >= 400 && error.status < 500 ? error.status : 500;
    res.status(status).send(pages.problem(context(req), 'Something broke', 'It was not you. Please try again in a moment.'));
  }

  function gallery() {
    // In memory: a picture is at most 1 MiB, and the release's folder cannot be written to.
    const receive = multer({
      storage: multer.memoryStorage(),
      limits: { fileSize: UPLOAD_BYTES, files: 1, fieldSize: 1024 },
    }).single('image');

    app.get('/upload', async (req, res) => {
      res.send(pages.upload(context(req)));
      await store.visit(req.path);
    });

    // Multer answers through its callback, so that each of its errors gets the status that fits.
    app.post('/upload', sameSite, (req, res, next) => {
      receive(req, res, async (error) => {
        const type = req.file && imageType(req.file.buffer);
        if (error instanceof multer.MulterError) {
          return refuse(req, res, error.code === 'LIMIT_FILE_SIZE' ? 413 : 400, `The picture was refused: ${error.message}.`);
        }
        if (error) {
          return next(error);
        }
        if (!type) {
          return refuse(req, res, 415, 'That is not a PNG, JPEG, GIF or WebP picture.');
        }
        const alt = String(req.body.alt || 'A picture without a description').slice(0, 120);
        await store.addPicture({ type, alt, data: req.file.buffer });
        res.redirect(303, '/meow');
      });
    });

    app.get('/meow', async (req, res) => {
      res.send(pages.gallery(context(req), await store.pictures()));
      await store.visit(req.path);
    });

    // Pictures never change, so browsers may keep them for good.
    app.get('/pictures/:id', async (req, res) => {
      const found = await store.picture(req.params.id);
      if (!found) {
        return missing(req, res);
      }
      res.set('Cache-Control', 'public, max-age=31536000, immutable').type(found.type).send(found.data);
    });
  }

  function refuse(req, res, status, text) {
    res.status(status).send(pages.upload(context(req), text));
  }

  function provokeLoad() {
    // Without `seconds` it is a form. 202: work was started and goes on; 429: enough is running already.
    app.get('/load', (req, res) => {
      let started = null;
      if (req.query.seconds !== undefined) {
        const wanted = {
          seconds: within(req.query.seconds, 1, LIMITS.seconds),
          workers: within(req.query.workers, 1, LIMITS.workers),
          mebibytes: within(req.query.mebibytes, 0, LIMITS.mebibytes),
        };
        started = { ...wanted, count: load.start(wanted) };
        res.status(started.count > 0 ? 202 : 429);
      }
      res.set('Cache-Control', 'no-store').send(pages.load(context(req), { running: load.running(), started }));
    });
  }
}

// The pages need no script at all, so none is allowed.
function headers(req, res, next) {
  res.set({
    'Content-Security-Policy': "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'same-origin',
  });
  next();
}

// A form on somebody else's site must not fill the gallery in a visitor's name.
function sameSite(req, res, next) {
  if (req.get('Sec-Fetch-Site') === 'cross-site') {
    return res.sendStatus(403);
  }
  next();
}

/**
 * The whole number in text, brought between least and most.
 *
 * @param {string} [text]
 * @param {number} least also the answer to what is no number
 * @param {number} most
 * @returns {number}
 */
function within(text, least, most) {
  const n = Number.parseInt(text, 10);
  return Number.isNaN(n) ? least : Math.min(Math.max(n, least), most);
}
