import { expect } from 'chai';
import request from 'supertest';
import { html } from '../lib/pages.js';
import { shop } from './support/shop.js';

describe('the pages', () => {
  it('show the goods on the front page', async () => {
    const { app } = shop();
    const res = await request(app).get('/').expect(200).expect('Content-Type', /html/);
    expect(res.text).to.include('Canopy hammock').and.to.include('lang="en"');
  });

  it('show one of the goods', async () => {
    const res = await request(shop().app).get('/goods/vine-rope').expect(200);
    expect(res.text).to.include('$65');
  });

  it('answer 404 for what is not there', async () => {
    const { app } = shop();
    await request(app).get('/goods/nothing').expect(404);
    await request(app).get('/nowhere').expect(404, /no such page/);
    await request(app).get('/pictures/none').expect(404);
  });

  it('list the five most recent pages, newest first, each once', async () => {
    const { app } = shop();
    const visits = ['/goods/vine-rope', '/', '/meow', '/upload', '/goods/trail-mix', '/goods/rain-shell', '/meow'];
    for (const url of visits) {
      await request(app).get(url);
    }
    const { text } = await request(app).get('/');
    const recent = /<ol class="recent"[^]*?<\/ol>/.exec(text)[0].match(/href="[^"]*"/g);
    expect(recent).to.deep.equal(['/meow', '/goods/rain-shell', '/goods/trail-mix', '/upload', '/'].map((u) => `href="${u}"`));
  });

  it('send headers that keep foreign scripts out', async () => {
    const res = await request(shop().app).get('/');
    expect(res.headers['content-security-policy']).to.include("default-src 'none'");
    expect(res.headers).not.to.have.property('x-powered-by');
  });

  it('serve the style sheet', () => request(shop().app).get('/static/style.css').expect(200).expect('Content-Type', /css/));

  it('hide what broke, and log it', async () => {
    const broken = { recent: async () => { throw new Error('secret detail'); } };
    const { app, lines } = shop({ store: broken });
    const res = await request(app).get('/').expect(500);
    expect(res.text).not.to.include('secret detail');
    expect(lines.find((line) => line.level === 'error').message).to.equal('secret detail');
  });

  it('answer 400 to an address that is none', () => request(shop().app).get('/goods/%E0%A4%A').expect(400));
});

describe('html', () => {
  it('escapes what it is given', () => {
    expect(html`<p title="${'"'}">${'<script>&\''}</p>`.toString()).to.equal('<p title="&quot;">&lt;script&gt;&amp;&#39;</p>');
  });

  it('leaves out nothing but nothing', () => {
    expect(html`${null}${undefined}${false}${0}${[html`<b>`, '<']}`.toString()).to.equal('0<b>&lt;');
  });
});

describe('operations', () => {
  it('say that the process is ready', async () => {
    const state = { ready: false };
    const { app, lines } = shop({ state });
    await request(app).get('/healthz').expect(503, { ready: false });
    state.ready = true;
    await request(app).get('/healthz').expect(200, { ready: true });
    expect(lines, 'health checks are no traffic').to.be.empty;
  });

  it('name the release and the commit', () => request(shop().app).get('/version').expect(200, {
    release: 'sha256:0123456789abcdef',
    commit: 'fedcba9876543210',
  }));

  it('log each request', async () => {
    const { app, lines } = shop();
    await request(app).get('/meow').set('X-Forwarded-For', '203.0.113.7');
    expect(lines).to.have.length(1);
    expect(lines[0]).to.include({ method: 'GET', url: '/meow', status: 200, remote: '203.0.113.7', complete: true });
    expect(lines[0].ms).to.be.above(0);
  });
});

describe('the feature behind the flag', () => {
  it('is not there while the flag is off', async () => {
    const { app } = shop();
    expect((await request(app).get('/')).text).not.to.include('id="new-feature"');
    await request(app).get('/feature').expect(404);
  });

  it('is there while the flag is on', async () => {
    const { app } = shop({ flags: { isOn: async (name) => name === 'new-feature' } });
    expect((await request(app).get('/')).text).to.include('id="new-feature"');
    await request(app).get('/feature').expect(200, /bundle/);
  });
});
