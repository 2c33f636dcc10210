// The pages, as functions from data to HTML. Every value that goes into one passes through html`` and is
// escaped there; only what html`` itself made goes in as it is.
import { goods } from './goods.js';
import { LIMITS } from './load.js';

// HTML that has been escaped. A class of its own, because a string says nothing about where it came from.
class Markup {
  constructor(text) {
    this.text = text;
  }

  toString() {
    return this.text;
  }
}

const ENTITIES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

/**
 * Template tag: escapes what it is given, joins lists, leaves out null, undefined and false.
 *
 * @param {string[]} parts our own text, which goes in as it is
 * @param {...*} values anything, also what html`` returned
 * @returns {Markup}
 */
export function html(parts, ...values) {
  return new Markup(parts.reduce((text, part, i) => text + render(values[i - 1]) + part));
}

// Zero is a value like any other: a price may be 0.
function render(value) {
  if (value instanceof Markup) {
    return value.text;
  }
  if (Array.isArray(value)) {
    return value.map(render).join('');
  }
  if (value === undefined || value === null || value === false) {
    return '';
  }
  return String(value).replace(/[&<>"']/g, (c) => ENTITIES[c]);
}

/** Marks text of our own as HTML. Never for anything that came with a request. */
function trusted(text) {
  return new Markup(text);
}

// Address and name, in the order of the menu.
const NAVIGATION = [
  ['/', 'Shop'],
  ['/meow', 'Gallery'],
  ['/upload', 'Add a picture'],
  ['/load', 'Load'],
];

// What all pages have in common. The release in the footer tells at a glance which pool has answered.
function layout({ title, path, config }, body) {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title} · Upper Canopy</title>
<link rel="icon" href="/static/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/static/style.css">
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header class="top">
<a class="brand" href="/"><img src="/static/icon.svg" alt="" width="32" height="32"> Upper Canopy</a>
<nav aria-label="Main"><ul>
${NAVIGATION.map(([to, text]) => html`<li><a href="${to}"${to === path ? trusted(' aria-current="page"') : ''}>${text}</a></li>`)}
</ul></nav>
</header>
<main id="main">
${body}
</main>
<footer>
<p>Upper Canopy sells nothing. It is the application that troop's example pipeline delivers.</p>
<p>Release <code>${short(config.release)}</code>, commit <code>${short(config.version)}</code></p>
</footer>
</body>
</html>
`.toString();
}

// The start of a digest is enough for people, as in git.
function short(digest) {
  return digest.replace(/^sha256:/, '').slice(0, 12);
}

// Hidden from screen readers: the name stands beside it.
function picture(item, className) {
  return html`<svg class="${className}" viewBox="0 0 160 120" aria-hidden="true">${trusted(item.art)}</svg>`;
}

function card(item) {
  return html`<li class="card hue-${item.hue}"><a href="/goods/${item.slug}">
${picture(item, 'art')}
<span class="name">${item.name}</span>
<span class="price">$${item.price}</span>
</a></li>`;
}

/**
 * The front page: the goods, the feature when it is on, and the pages that were looked at last.
 *
 * @param {{config: Object, path: string}} context of the request; the other pages take the same
 * @param {{recent: string[], feature: boolean}} data
 * @returns {string} a whole document, like all pages
 */
export function front(context, { recent, feature }) {
  return layout({ ...context, title: 'Shop' }, html`
<section class="hero">
<h1>Gear for life above the ground</h1>
<p>Everything a troop needs, from the first branch to the last light.</p>
</section>
${feature && html`<aside class="feature" id="new-feature" aria-labelledby="new-feature-title">
<h2 id="new-feature-title">New: the bundle</h2>
<p>Any three things together, one quarter off. <a href="/feature">See how it works</a>.</p>
</aside>`}
<section aria-labelledby="goods-title">
<h2 id="goods-title">In the shop</h2>
<ul class="grid">${goods.map(card)}</ul>
</section>
<section aria-labelledby="recent-title">
<h2 id="recent-title">Recently visited</h2>
${recent.length === 0 ? html`<p class="quiet">Nobody has been here yet.</p>` :
    html`<ol class="recent" id="recent">${recent.map((url) => html`<li><a href="${url}">${url}</a></li>`)}</ol>`}
</section>`);
}

/** One of the goods. */
export function item(context, thing) {
  return layout({ ...context, title: thing.name }, html`
<article class="item hue-${thing.hue}">
${picture(thing, 'art large')}
<div>
<h1>${thing.name}</h1>
<p>${thing.text}</p>
<p class="price">$${thing.price}</p>
<p><a class="button" href="/">Back to the shop</a></p>
</div>
</article>`);
}

/** The page of the feature behind the flag. */
export function feature(context) {
  return layout({ ...context, title: 'The bundle' }, html`
<h1>The bundle</h1>
<p>Put three things in your basket and the cheapest of them costs you nothing. This page exists only while
the flag <code>new-feature</code> is on.</p>
<p><a class="button" href="/">Choose three</a></p>`);
}

/**
 * The form that takes a picture.
 *
 * @param {string} [error] why the last picture was refused
 */
export function upload(context, error) {
  return layout({ ...context, title: 'Add a picture' }, html`
<h1>Add a picture</h1>
<p>Show the troop where your gear has been. The gallery keeps the twelve newest.</p>
${error && html`<p class="error" role="alert">${error}</p>`}
<form class="panel" action="/upload" method="post" enctype="multipart/form-data">
<p><label for="image">Picture</label>
<input id="image" name="image" type="file" accept="image/png,image/jpeg,image/gif,image/webp" required aria-describedby="image-help">
<span class="quiet" id="image-help">PNG, JPEG, GIF or WebP, at most 1 MiB</span></p>
<p><label for="alt">What does it show?</label>
<input id="alt" name="alt" type="text" maxlength="120" required autocomplete="off"></p>
<p><button class="button" type="submit">Add it</button></p>
</form>`);
}

/**
 * The gallery.
 *
 * @param {{id: string, alt: string}[]} pictures newest first
 */
export function gallery(context, pictures) {
  return layout({ ...context, title: 'Gallery' }, html`
<h1>Gallery</h1>
${pictures.length === 0 ? html`<p class="quiet">No pictures yet.</p>` : html`<ul class="grid pictures">
${pictures.map(({ id, alt }) => html`<li><img src="/pictures/${id}" alt="${alt}" loading="lazy"></li>`)}
</ul>`}
<p><a class="button" href="/upload">Add a picture</a></p>`);
}

/**
 * The page that provokes load.
 *
 * @param {{running: number, started: ?{count: number, seconds: number}}} data started is null before anything
 *   was asked for; a count of 0 says that it was too much
 */
export function load(context, { running, started }) {
  return layout({ ...context, title: 'Load' }, html`
<h1>Load</h1>
<p>Keeps this host's processor busy, so that you can watch what guards it. The pages stay quick meanwhile.</p>
${started && html`<p class="notice" role="status">${started.count === 0 ? 'This host is as busy as it may get.' :
    `Started ${started.count} ${started.count === 1 ? 'thread' : 'threads'} for ${started.seconds} s.`}</p>`}
<p>Threads at work on this host: <strong>${running}</strong> of ${LIMITS.workers}</p>
<form class="panel" action="/load" method="get">
<p><label for="seconds">Seconds</label>
<input id="seconds" name="seconds" type="number" min="1" max="${LIMITS.seconds}" value="30" required></p>
<p><label for="workers">Threads</label>
<input id="workers" name="workers" type="number" min="1" max="${LIMITS.workers}" value="1"></p>
<p><label for="mebibytes">Memory, MiB</label>
<input id="mebibytes" name="mebibytes" type="number" min="0" max="${LIMITS.mebibytes}" value="0"></p>
<p><button class="button" type="submit">Start</button></p>
</form>`);
}

/** Anything that went wrong, in words for visitors. */
export function problem(context, title, text) {
  return layout({ ...context, title }, html`
<h1>${title}</h1>
<p>${text}</p>
<p><a class="button" href="/">Back to the shop</a></p>`);
}
