import { expect } from 'chai';
import request from 'supertest';
import { imageType } from '../lib/images.js';
import { PICTURES } from '../lib/store.js';
import { shop } from './support/shop.js';

const PNG = Buffer.from('89504e470d0a1a0a0000000d49484452', 'hex');

function send(app, bytes, alt = 'A hammock') {
  return request(app).post('/upload').field('alt', alt).attach('image', bytes, 'picture.png');
}

describe('the gallery', () => {
  it('shows a picture that was uploaded', async () => {
    const { app } = shop();
    await send(app, PNG, 'Dusk & <dawn>').expect(303).expect('Location', '/meow');
    const { text } = await request(app).get('/meow');
    expect(text).to.include('alt="Dusk &amp; &lt;dawn&gt;"');
    const [src] = text.match(/\/pictures\/[0-9a-f-]+/);
    const res = await request(app).get(src).expect(200).expect('Content-Type', 'image/png').expect('X-Content-Type-Options', 'nosniff');
    expect(res.body.equals(PNG)).to.equal(true);
  });

  it(`keeps the ${PICTURES} newest`, async () => {
    const { app } = shop();
    for (let i = 0; i <= PICTURES; i++) {
      await send(app, PNG, `number ${i}.`);
    }
    const { text } = await request(app).get('/meow');
    expect(text.match(/<img src="\/pictures/g)).to.have.length(PICTURES);
    expect(text).to.include(`number ${PICTURES}.`).and.not.to.include('number 0.');
  });

  it('refuses what is no picture, whatever it is called', () => send(shop().app, Buffer.from('<svg onload=alert(1)>')).expect(415, /not a PNG/));
  it('refuses more than 1 MiB', () => send(shop().app, Buffer.concat([PNG, Buffer.alloc(1 << 20)])).expect(413));
  it('refuses a form without a picture', () => request(shop().app).post('/upload').field('alt', 'none').expect(415));
  it('refuses forms of other sites', () => send(shop().app, PNG).set('Sec-Fetch-Site', 'cross-site').expect(403));
  it('answers 400 to a body that breaks off', () => request(shop().app).post('/upload')
    .set('Content-Type', 'multipart/form-data; boundary=x').send('--x\r\nContent-Disposition: form-data; name="image"').expect((res) => {
      expect(res.status).to.be.within(400, 500);
    }));
});

describe('imageType', () => {
  const cases = [
    ['89504e470d0a1a0a', 'image/png'],
    ['ffd8ffe0', 'image/jpeg'],
    ['474946383961', 'image/gif'],
    ['524946460000000057454250', 'image/webp'],
    ['', undefined],
    ['3c737667', undefined],
  ];
  cases.forEach(([hex, want]) => {
    it(`of ${hex || 'nothing'} is ${want}`, () => expect(imageType(Buffer.from(hex, 'hex'))).to.equal(want));
  });
});
