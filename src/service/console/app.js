// The console: a client of /v1 alone. What the service says is put into the page as text, never as
// markup (the policy holds it to that). Live by hints from /v1/events: what one names is fetched.
const $ = id => document.getElementById(id);
const main = $('main'), doc = document;

// Elements: h('p.soft', {props}, children). A property that is no attribute is set as such.
const maker = make => (what, ...kids) => {
	const [tag, ...classes] = what.split('.'), e = make(tag);
	if (classes.length) e.classList.add(...classes);
	const props = kids[0]?.constructor === Object ? kids.shift() : {};
	for (const [name, value] of Object.entries(props)) {
		if (value === undefined || value === null || value === false) continue;
		if (name.startsWith('on')) e.addEventListener(name.slice(2), value);
		else if (/^(value|checked|disabled|hidden|open)$/.test(name)) e[name] = value;
		else e.setAttribute(name, value === true ? '' : value);
	}
	put(e, kids);
	return e;
};
const put = (e, kids) => e.append(...kids.flat(3).filter(kid => kid || kid === 0));
const h = maker(tag => doc.createElement(tag));
const svg = maker(tag => doc.createElementNS('http://www.w3.org/2000/svg', tag));
let ids = 0;
const fresh = () => `id${++ids}`;
const plural = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;
const quote = text => `“${text}”`;
const words = text => text ? text[0].toUpperCase() + text.slice(1) : '';
const say = text => {
	const p = h('p', text);
	$('say').replaceChildren(p);
	setTimeout(() => p.remove(), 7000);
};
const tag = (text, cls) => h(cls ? `span.tag.${cls}` : 'span.tag', text);
const soft = (...kids) => h('span.soft.small', kids);
const facts = (...all) => h('div.facts', all.filter(Boolean).map(fact => h('span', fact)));
// A button. `data-f` names it, so that the focus finds its successor when its row is drawn anew.
const button = (text, onclick, {label, cls, ...more} = {}) =>
	h(`button${cls ? `.${cls}` : ''}`, {type: 'button', 'aria-label': label, 'data-f': label || text, onclick, ...more}, text);
const verb = (text, what, act, harm) =>
	button(text, () => Promise.resolve(act()).catch(fault), {label: `${text} ${what}`, cls: harm && 'harm'});
const fault = error => S.me && say(error.message);
const copier = (text, what) => h('div.copy', h('code', text), button('Copy', async event => {
	const it = event.currentTarget;
	try {
		await navigator.clipboard.writeText(text);
		it.textContent = 'Copied';
	} catch {
		getSelection().selectAllChildren(it.previousSibling);
		it.textContent = 'Press Ctrl+C';
	}
	setTimeout(() => {it.textContent = 'Copy';}, 2500);
}, {label: `Copy ${what}`}));

// Times.
const DAY = 864e5;
const over = at => at && new Date(at) < Date.now();
const ago = text => {
	const away = (new Date(text) - Date.now()) / 1000, at = Math.abs(away);
	if (at < 10) return 'just now';
	if (at > 518e4) return new Date(text).toLocaleDateString();
	const [n, unit] = at < 90 ? [at, 's'] : at < 5400 ? [at / 60, 'min'] : at < 129600 ? [at / 3600, 'h'] : [at / 86400, 'd'];
	return away < 0 ? `${Math.round(n)} ${unit} ago` : `in ${Math.round(n)} ${unit}`;
};
const when = (at, none = 'never') => at ? h('time', {datetime: at, title: new Date(at).toLocaleString()}, ago(at)) : none;
setInterval(() => {
	for (const time of doc.querySelectorAll('time')) if (time.textContent !== ago(time.dateTime)) time.textContent = ago(time.dateTime);
}, 10000);
const millis = ms => ms < 95 ? `${(ms / 1000).toFixed(2)} s` : ms < 99500 ? `${(ms / 1000).toFixed(1)} s` : ms < 54e5 ? `${Math.round(ms / 6e4)} min` : `${Math.round(ms / 36e5)} h`;

// What is known.
const nothing = () => ({me: null, keys: [], rolls: new Map(), gone: [], api: [], sessions: [], instances: [], audit: [], loaded: new Set()});
const S = nothing();

async function call(method, path, body, etag) {
	const headers = {}, {me} = S;
	if (method !== 'GET') headers['X-Sshkeyd'] = '1';
	if (body !== undefined) headers['Content-Type'] = 'application/json';
	if (etag) headers['If-None-Match'] = etag;
	let answer;
	try {
		answer = await fetch(path, {method, headers, body: body && JSON.stringify(body), cache: 'no-store', redirect: 'error'});
	} catch {
		throw Object.assign(new Error('The service does not answer.'), {status: 0});
	}
	const {status} = answer, data = await answer.json().catch(() => null);
	// Asked by someone who has left.
	if (me && S.me !== me) throw Error('Signed out.');
	if (status === 304) return null;
	if (answer.ok) return etag === undefined ? data : {data, etag: answer.headers.get('etag')};
	const error = Object.assign(new Error(words(data?.detail || data?.title || `The service answered ${status}.`)), {status, code: data?.code});
	if (status === 429) error.message += ` Try again in ${answer.headers.get('retry-after') || 'some'} s.`;
	if (status === 401 && error.code === 'unauthorized' && S.me) signedOut('Your session has ended. Sign in again.');
	throw error;
}
async function list(path) {
	const items = [];
	for (let next = ''; ;) {
		const page = await call('GET', path + next);
		items.push(...page.items);
		if (!page.next) return items;
		next = `?after=${encodeURIComponent(page.next)}`;
	}
}
const sources = {
	'ssh-keys': async () => {S.keys = (await list('/v1/ssh-keys')).reverse(); S.typed?.(); await sources.rollouts();},
	rollouts: () => Promise.all([...S.keys.slice(0, view.limit || 50), ...S.gone].map(async ({id}) => {
		try {
			const got = await call('GET', `/v1/ssh-keys/${id}/rollout`, undefined, S.rolls.get(id)?.etag || '');
			if (got) S.rolls.set(id, got);
		} catch (error) {
			if (error.status !== 404) throw error;
			S.rolls.delete(id);
		}
	})),
	'api-keys': async () => {S.api = (await list('/v1/api-keys')).reverse();},
	sessions: async () => {S.sessions = await list('/v1/sessions');},
	instances: async () => {S.instances = await list('/v1/instances');},
	audit: async () => {const page = await call('GET', '/v1/audit'); S.audit = page.items; S.older = page.next;},
};
const rollOf = key => S.rolls.get(key.id)?.data;

// Fetches what the view shows: several hints as one.
const due = new Set();
let busy = false;
async function refresh(...kinds) {
	for (const kind of kinds) if (view.needs?.includes(kind)) due.add(kind);
	if (busy) return;
	busy = true;
	while (due.size && S.me) {
		const now = [...due];
		due.clear();
		const done = await Promise.allSettled(now.map(kind => sources[kind]().then(() => S.loaded.add(kind))));
		const bad = done.find(one => one.reason);
		if (!S.me) break;
		trouble(bad ? `${bad.reason.message} Trying again.` : '');
		if (bad) now.forEach(kind => due.add(kind));
		view.draw?.();
		await new Promise(go => setTimeout(go, bad ? 2000 : 250));
	}
	due.clear();
	busy = false;
}
const told = (kind, text) => {say(text); refresh(kind);};
const trouble = text => {$('trouble').hidden = !text; if ($('trouble').textContent !== text) $('trouble').textContent = text;};

let events = null;
function listen() {
	const mine = events = new EventSource('/v1/events');
	mine.addEventListener('change', event => {
		const {kind} = JSON.parse(event.data);
		refresh(kind, ...(kind === 'instances' ? ['rollouts'] : []));
	});
	// Whatever changed while nobody listened.
	mine.onopen = () => {trouble(''); refresh(...Object.keys(sources));};
	mine.onerror = async () => {
		await call('GET', '/v1/account').catch(error => error.status === 0 && trouble(`${error.message} Trying again.`));
		if (mine === events && S.me && mine.readyState === EventSource.CLOSED) setTimeout(() => mine === events && S.me && listen(), 2000);
	};
}

// Drawing. The children of `box` become those of [key, item, make]: one whose item is as before
// stays the element that it is, with its focus, its selection and what was unfolded.
function sync(box, items) {
	const was = box.was || new Map(), now = new Map(), active = doc.activeElement;
	const f = box.contains(active) && active.dataset.f;
	const keys = new Set(items.map(([key]) => key));
	for (const [key, entry] of was) if (!keys.has(key)) entry.element.remove();
	let at = box.firstElementChild;
	for (const [key, item, make] of items) {
		const text = JSON.stringify(item);
		let entry = was.get(key);
		if (!entry || entry.text !== text) {
			const element = make(item);
			if (entry) {
				const open = [...entry.element.querySelectorAll('details')].map(d => d.open);
				element.querySelectorAll('details').forEach((d, n) => {d.open ||= open[n];});
				if (at === entry.element) at = element;
				entry.element.replaceWith(element);
			} else if (box.was) element.classList.add('new');
			entry = {element, text};
		}
		now.set(key, entry);
		if (entry.element === at) at = at.nextElementSibling;
		else box.insertBefore(entry.element, at);
	}
	box.was = now;
	if (!f || doc.activeElement === active) return;
	if (doc.contains(active)) active.focus();
	else refocus(f, box.closest('section'));
}
const refocus = (f, home) => (f && doc.querySelector(`[data-f="${CSS.escape(f)}"]`) || home?.querySelector('h2') || main.querySelector('h1') || main).focus();

// A modal question. `act` does it and may throw: its words are shown, and the question stays. The
// focus goes back to where it was, or to the heading of what is left.
function ask(title, body, act, {go = 'Save', harm, done} = {}) {
	const from = doc.activeElement, home = from?.closest('section'), id = fresh();
	const error = h('p.error', {role: 'alert'}), submit = act && h(`button.go${harm ? '.harm' : ''}`, go);
	const shut = button(act ? 'Cancel' : 'Close', () => dialog.close());
	const dialog = h('dialog', {'aria-labelledby': id, onclose: () => {
		dialog.remove();
		done?.();
		if (doc.contains(from) && from !== doc.body) from.focus();
		else refocus(from?.dataset?.f, home);
	}}, h('form', {novalidate: true, onsubmit: async event => {
		event.preventDefault();
		if (!submit || submit.disabled) return;
		submit.disabled = true;
		error.textContent = '';
		try {
			const then = await act();
			dialog.close();
			then?.();
		} catch (fault) {
			error.textContent = fault.message;
		}
		submit.disabled = false;
	}}, h('h2', {id}, title), body, error, h('div.foot', shut, submit)));
	doc.body.append(dialog);
	dialog.showModal();
	(dialog.querySelector('input:not([hidden]), textarea') || shut).focus();
}
const sure = (title, text, go, act) => ask(title, [].concat(text).map(p => h('p', p)), act, {go, harm: true});
// A field with its label; `hint` is read with it.
function field(label, input, hint) {
	const id = input.id = fresh();
	if (hint) input.setAttribute('aria-describedby', `${id}h`);
	return h('div', h('label', {for: id}, label), input, hint && h('p.hint', {id: `${id}h`}, hint));
}
const line = (value, more) => h('input', {value: value || '', maxlength: 128, autocomplete: 'off', spellcheck: 'false', ...more});
const tick = (input, ...text) => h('label.tick', input, h('span', text));
const box = (checked, more) => h('input', {type: 'checkbox', checked, ...more});
const needs = (input, text) => {
	if (input.value.trim()) return input.value.trim();
	input.focus();
	throw new Error(text);
};

// Public keys, read here before they go anywhere.
const KINDS = {'ssh-ed25519': 'Ed25519', 'ssh-rsa': 'RSA', 'ecdsa-sha2-nistp256': 'ECDSA', 'ecdsa-sha2-nistp384': 'ECDSA', 'ecdsa-sha2-nistp521': 'ECDSA',
	'sk-ssh-ed25519@openssh.com': 'Ed25519-SK', 'sk-ecdsa-sha2-nistp256@openssh.com': 'ECDSA-SK'};
// Type and bits of a blob, by its own words; or what is wrong with it.
function readBlob(kind, base64) {
	const cut = {bad: 'The key is cut off, or has a wrong character in it. Copy the whole line.'}, parts = [];
	let blob;
	try {blob = Uint8Array.from(atob(base64), c => c.charCodeAt(0));} catch {return cut;}
	for (let at = 0; at < blob.length;) {
		const end = at + 4 + (at + 4 <= blob.length ? new DataView(blob.buffer).getUint32(at) : Infinity);
		if (end > blob.length) return cut;
		parts.push(blob.subarray(at + 4, end));
		at = end;
	}
	const wanted = {'ssh-rsa': 3, 'ssh-ed25519': 2, 'sk-ecdsa-sha2-nistp256@openssh.com': 4}[kind] || 3;
	if (parts.length !== wanted || String.fromCharCode(...parts[0]) !== kind) return cut;
	let bits = Number(/p(\d+)/.exec(kind)?.[1] || 256);
	if (kind === 'ssh-rsa') {
		const n = parts[2].subarray(parts[2].findIndex(byte => byte));
		bits = n.length * 8 + 24 - Math.clz32(n[0]);
	}
	return {blob, bits};
}
async function readKey(text) {
	if (/PRIVATE KEY|PuTTY-User-Key-File/.test(text)) return {secret: true};
	const lines = text.split(/[\r\n]+/).map(one => one.trim()).filter(one => one && !one.startsWith('#'));
	if (!lines.length) return {};
	if (/BEGIN SSH2/.test(text)) return {bad: 'This is an SSH2 file. Make one line of it: ssh-keygen -i -f FILE'};
	if (lines.length > 1) return {bad: `These are ${lines.length} lines. Add one key at a time; a key is one line.`};
	const parts = /^(.*?)(?:^|\s)((?:sk-)?(?:ssh|ecdsa)-[a-z0-9-]+(?:@openssh\.com)?)\s+([A-Za-z0-9+/]+={0,3})(?:\s+(.*))?$/.exec(lines[0]);
	if (!parts) return {bad: 'This is no public key. A key is one line, such as “ssh-ed25519 AAAA… you@laptop”, in a file that ends in .pub.'};
	const [, options, kind, base64, comment = ''] = parts;
	if (!KINDS[kind]) return {bad: `sshd takes no keys of type ${kind} any more. Make one with: ssh-keygen -t ed25519`};
	const {bad, blob, bits} = readBlob(kind, base64);
	if (bad) return {bad};
	let fingerprint;
	if (crypto.subtle) {
		const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', blob));
		fingerprint = `SHA256:${btoa(String.fromCharCode(...hash)).replace(/=+$/, '')}`;
	}
	return {kind, bits, fingerprint, comment, options: options.trim(), line: `${kind} ${base64} ${comment}`.trim(), base64};
}
const partsOf = key => {
	const [kind, base64, ...comment] = key.public_key.split(' ');
	return {kind, base64, comment: comment.join(' ')};
};
function kindOf(key) {
	const {kind, base64} = partsOf(key), {bits} = readBlob(kind, base64);
	return (KINDS[kind] || kind) + (bits && /rsa|^ecdsa/.test(kind) ? ` ${bits}` : '');
}

// What a deletion does, by the instances' last word.
const held = target => new Set([...target.managed, ...target.proof?.accepted || [], ...(target.proof?.unknown || []).map(u => u.fingerprint)]);
const targetsOf = i => i.status?.targets || [];
const openOf = i => i.status?.sessions || [];
const names = of => of.slice(0, 3).map(i => i.label).join(', ') + (of.length > 3 ? ` and ${of.length - 3} more` : '');
function consequences({fingerprint: key}, revoke) {
	const has = t => held(t).has(key), where = is => S.instances.filter(i => targetsOf(i).some(is));
	const on = where(has);
	const away = on.filter(i => i.state !== 'live');
	const only = where(t => has(t) && held(t).size === 1 && !t.foreign);
	const still = where(t => [...t.foreign_keys || [], ...t.proof?.still_accepted || []].includes(key));
	const open = S.instances.reduce((n, i) => n + openOf(i).filter(x => x.fingerprint === key).length, 0);
	const on_ = of => `On ${plural(of.length, 'instance')}`;
	const lines = [
		[on.length ? `It is on ${plural(on.length, 'instance')}: ${names(on)}. It goes from each within a second.` : 'It is on no instance.'],
		away.length && [`Not live now: ${names(away)}. It goes from there when heard again.`, 1],
		[open ? `It opened ${plural(open, 'SSH session')} that ${open === 1 ? 'is' : 'are'} open now.` : 'No open SSH session was opened with it.'],
		only.length && [`It is the only key on ${plural(only.length, 'instance')}: ${names(only)}. Nobody could log in there.`, 1],
		still.length && (revoke ? [`${on_(still)} someone else’s line with it goes too: ${names(still)}.`] : [`${on_(still)} someone else’s line still lets it in: ${names(still)}. Revoke takes that line out too.`, 1]),
	];
	return {open, node: h('ul.says', lines.filter(Boolean).map(([text, warn]) => h(warn ? 'li.warn' : 'li', h('span', text))))};
}

// SSH keys.
const LIFES = [['', 'Never'], ['1', 'In a day'], ['7', 'In a week'], ['30', 'In 30 days'], ['365', 'In a year']];
function life(now, hint) {
	const choices = now ? [['keep', `As it is: ${new Date(now).toLocaleString()}`], ...LIFES] : LIFES;
	const select = h('select', choices.map(([value, text]) => h('option', {value}, text)));
	return {node: field('Expires', select, hint), read: () => select.value === 'keep' ? undefined : select.value ? new Date(Date.now() + select.value * DAY).toISOString() : null};
}
const known = key => `You have this key already, as ${quote(key.name)}.`;
// The field for a key: pasted, typed, dropped or chosen; what it holds is said as it changes.
function keyField(key, options, changed) {
	const found = h('div.found', {role: 'status'}), at = {read: {}};
	const area = h('textarea', {rows: 4, spellcheck: 'false', autocapitalize: 'off', autocomplete: 'off', value: key?.public_key, oninput: () => look(), placeholder: 'ssh-ed25519 AAAA… you@laptop'});
	const show = (cls, ...kids) => {
		found.className = `found ${cls}`;
		found.setAttribute('role', cls === 'bad' ? 'alert' : 'status');
		found.replaceChildren();
		put(found, kids);
	};
	const twin = read => read.base64 && S.keys.find(k => k.id !== key?.id && partsOf(k).base64 === read.base64);
	let turn = 0;
	const look = async () => {
		const mine = ++turn, read = await readKey(area.value);
		if (mine !== turn) return;
		at.read = read.secret ? {} : read;
		at.twin = twin(read);
		if (read.secret) {
			area.value = '';
			at.caught = true;
			show('bad', h('strong', 'That was a private key. '), 'It was taken out of the field and has not left this browser. Paste the public half, the file that ends in .pub.');
		} else if (read.bad) show('warn', read.bad);
		else if (read.options) {
			show('warn', `Options stand in front of the key: ${read.options} `, button('Move them to Options', () => {options(read.options); area.value = read.line; look();}, {cls: 'lite'}));
		} else if (read.kind) {
			show(at.twin ? 'warn' : 'ok', h('div', h('strong', `${KINDS[read.kind]}, ${read.bits} bits`), read.comment && `, ${read.comment}`),
				h('div.mono', read.fingerprint || 'The fingerprint is shown once it is saved.'), at.twin && h('div', known(at.twin)),
				read.kind === 'ssh-rsa' && read.bits < 2048 && h('div', 'Many servers refuse RSA keys under 2048 bits.'));
		} else if (!at.caught) show('');
		if (read.kind || read.bad) at.caught = false;
		changed(at);
	};
	const take = async from => {
		if (from.size > 65536) return show('bad', `${from.name} is too large for a public key.`);
		area.value = await from.text();
		look();
	};
	// The list may change under a key that was typed already.
	S.typed = () => twin(at.read)?.id !== at.twin?.id && look();
	const file = h('input', {type: 'file', accept: '.pub,text/plain', hidden: true, onchange: () => {if (file.files[0]) take(file.files[0]); file.value = '';}});
	const node = h('div', {
		ondragover: event => {event.preventDefault(); area.classList.add('over');},
		ondragleave: () => area.classList.remove('over'),
		ondrop: event => {const [one] = event.dataTransfer.files; area.classList.remove('over'); if (one) {event.preventDefault(); take(one);}},
	}, field('Public key', area, 'Paste it, or drop a .pub file here. It is checked in this browser first.'), button('Choose a file', () => file.click(), {cls: 'lite'}), file, found);
	if (key) look();
	return {node, at, look};
}
function editKey(key) {
	const was = key && partsOf(key).base64, name = line(key?.name, {oninput: () => {named = !!name.value;}}), options = line(key?.options, {maxlength: 8192});
	let named = !!key;
	const some = box(key?.scope === 'some'), end = box(), expires = life(key?.expires_at, 'From then on sshd itself refuses it, even with the agent stopped.');
	const other = h('div', {hidden: true}, h('p.hint', 'This is another key: the old one goes and this one comes, in one step.'), tick(end, 'End open SSH sessions of the old one'));
	const more = h('details', {open: !!(key?.options || key?.expires_at || some.checked)}, h('summary', 'Expiry, options, scope'), expires.node,
		field('Options', options, 'As in authorized_keys, such as: from="203.0.113.0/24",no-port-forwarding'), tick(some, 'Only on instances that I attach it to'));
	const part = keyField(key, text => {options.value = text; more.open = true;}, ({read}) => {
		if (!named) name.value = (read.comment || '').slice(0, 64);
		other.hidden = !key || !read.base64 || read.base64 === was;
	});
	ask(key ? `Edit ${quote(key.name)}` : 'New SSH key', [part.node, other, field('Name', name, 'Left empty, it is the key’s comment.'), more], async () => {
		await part.look();
		const {read, twin} = part.at;
		if (!read.kind || read.options) throw new Error(read.bad || (read.options ? 'Move the options out of the key first.' : 'Paste a public key first.'));
		if (twin) throw new Error(known(twin));
		const body = {name: name.value.trim() || undefined, options: options.value.trim(), expires_at: expires.read(), scope: some.checked ? 'some' : 'all'};
		if (!key || !other.hidden) body.public_key = read.line;
		const saved = key ? await call('PATCH', `/v1/ssh-keys/${key.id}${end.checked && !other.hidden ? '?end_sessions=true' : ''}`, body) : await call('POST', '/v1/ssh-keys', body);
		told('ssh-keys', `Key ${quote(saved?.name || key?.name)} saved.`);
	}, {go: key ? 'Save changes' : 'Save key'});
}
async function dropKey(key, revoke) {
	await sources.instances();
	const {open, node} = consequences(key, revoke), end = box();
	ask(`${revoke ? 'Revoke' : 'Delete'} ${quote(key.name)}?`, [h('p.mono.soft', key.fingerprint),
		revoke && h('p', 'For a key that was lost or stolen: every instance refuses it from now on, whoever’s line it stands in, its sessions end, and it cannot be saved again.'),
		node, !revoke && open > 0 && tick(end, `End ${open === 1 ? 'that session' : `those ${open} sessions`} too`)], async () => {
		if (revoke) await call('POST', `/v1/ssh-keys/${key.id}/revoke`);
		else await call('DELETE', `/v1/ssh-keys/${key.id}${end.checked ? '?end_sessions=true' : ''}`);
		S.rolls.delete(key.id);
		S.keys = S.keys.filter(k => k.id !== key.id);
		if (revoke || end.checked) S.gone.unshift({id: key.id, name: key.name, what: revoke ? 'revoked' : 'deleted'});
		told('ssh-keys', `Key ${quote(key.name)} ${revoke ? 'revoked' : 'deleted'}.`);
	}, {go: revoke ? 'Revoke key' : 'Delete key', harm: true});
}
const WHY = {
	'no-sshd': 'no sshd answers there', timeout: 'sshd did not answer in time', disconnected: 'sshd hung up', 'from-option': 'its from= refuses the asker',
	expired: 'it has expired', 'user-cannot-log-in': 'that user cannot log in at all', 'several-methods': 'sshd wants more than a key',
	'wrong-host': 'another program answers in sshd’s place', 'unsupported-key': 'sshd takes no keys of that type', budget: 'it is asked soon',
};
// How far a key is on one instance, in words.
function standing({instance_state: of, state, why, proved_after_ms: ms}) {
	const because = why ? `: ${WHY[why] || why}` : '';
	const text = {proved: `proved${ms >= 0 && ms !== null ? `, ${millis(ms)}` : ''}`, written: because ? `in place, no proof${because}` : 'in place, being proved', wanted: 'on its way', refused: `refused${because}`}[state];
	return of === 'live' ? text : `${of === 'never' ? 'not enrolled yet' : of}, ${text}`;
}
function progress(cls, title, notes, part, late, all) {
	const bar = h('i');
	bar.style.width = `${part * 100}%`;
	return h(`div.roll.${cls}`, h('span.mark', {'aria-hidden': 'true'}, {ok: '✓', warn: '…', bad: '!'}[cls] || '–'), h('div', h('strong', title), part !== null && h('div.meter', {'aria-hidden': 'true'}, bar),
		notes && h('div.small.soft', notes), all.length > 0 && h('details', h('summary', late ? `Which ${plural(late, 'lags', 'lag')}` : 'On which'), h('ul', all))));
}
function rolloutOf(key, roll) {
	if (!roll) return soft('Looking …');
	const {counts: c, instances} = roll;
	if (!c.total) return progress('none', 'No instance yet', 'It goes to each one you add.', null, 0, []);
	const late = instances.filter(i => i.state !== 'proved' || i.instance_state !== 'live');
	const slow = Math.max(...instances.map(i => i.proved_after_ms ?? -1));
	const notes = [[c.wanted, 'on the way'], [c.written, 'in place without proof'], [c.refused, 'refused'], [c.offline, 'not live']].filter(([n]) => n).map(([n, text]) => `${n} ${text}`).join(' · ');
	return progress(c.refused ? 'bad' : c.live && c.proved === c.live ? 'ok' : 'warn', `Proved on ${c.proved} of ${c.live}${slow >= 0 ? `, ${millis(slow)}` : ''}`, notes, c.live ? c.proved / c.live : 0, late.length,
		(late.length ? late : instances).slice(0, 100).map(i => h('li', h('a', {href: `#instances/${i.instance}`}, i.label), ` ${standing(i)}`, i.state !== 'proved' || i.offline_since ? [', since ', when(i.offline_since || key.created_at)] : '')));
}
function goneRow({gone, roll}) {
	const all = roll?.instances || [], ended = all.reduce((n, i) => n + (i.end_sessions?.ended || 0), 0);
	const left = all.filter(i => i.instance_state === 'live' && i.state !== 'refused');
	return h('li.row', h('div.name', gone.name, tag(gone.what, 'bad')),
		roll ? progress(left.length ? 'warn' : 'ok', `Gone from ${roll.counts.refused} of ${roll.counts.live}`, `${plural(ended, 'SSH session')} ended`, roll.counts.live ? roll.counts.refused / roll.counts.live : 1, left.length, left.map(i => h('li', `${i.label} ${i.why || 'on its way'}`))) : soft('Done.'),
		h('div.do', verb('Dismiss', gone.name, () => {S.gone = S.gone.filter(g => g.id !== gone.id); view.draw();})));
}
function keyRow({key, roll}) {
	const {comment} = partsOf(key);
	return h('li.row', h('div', h('div.name', h('span', key.name), tag(kindOf(key)), key.scope === 'some' && tag('attached only'), over(key.expires_at) && tag('expired', 'bad')), h('div.mono.soft', key.fingerprint),
		facts(comment !== key.name && comment, ['added ', when(key.created_at)], ['last used ', when(key.last_used_at)], key.expires_at && ['expires ', when(key.expires_at)], key.options && h('code', key.options))),
	rolloutOf(key, roll),
	h('div.do', verb('Edit', key.name, () => editKey(key)), verb('Delete', key.name, () => dropKey(key)), verb('Revoke', key.name, () => dropKey(key, true), true)));
}

// API keys.
const CATEGORIES = {user_read: 'see SSH keys, API keys, sessions', user_write: 'change them', instance_read: 'see instances', instance_write: 'add, change and remove instances', misc: 'activity log and events'};
const ALL = {api: {}};
const isAll = tree => JSON.stringify(tree || ALL) === JSON.stringify(ALL);
// The categories of a tree that holds nothing but whole categories; null for any other tree.
function categoriesOf(tree) {
	const all = Object.entries(tree?.api || {});
	return all.length && Object.keys(tree).length === 1 && all.every(([name, below]) => CATEGORIES[name] && !Object.keys(below).length) ? all.map(([name]) => name) : null;
}
function permissionField(tree) {
	const of = categoriesOf(tree), group = fresh();
	const ticks = Object.entries(CATEGORIES).map(([name, text]) => [name, box(of?.includes(name)), text]);
	const json = h('textarea', {rows: 8, spellcheck: 'false', 'aria-label': 'Permissions as JSON', value: JSON.stringify(tree || ALL, null, 2)});
	const chosen = () => ({api: Object.fromEntries(ticks.filter(([, input]) => input.checked).map(([name]) => [name, {}]))});
	const parts = {
		all: h('p.hint', 'Whatever you may, but for what wants your password.'),
		some: h('div', ticks.map(([name, input, text]) => tick(input, h('code', name), ` ${text}`))),
		json: h('div', json, h('p.hint', 'What maps to {} is allowed whole; “constraints” limit the parameters of a call.')),
	};
	let now;
	const pick = next => {
		if (next === 'json' && now === 'some') json.value = JSON.stringify(chosen(), null, 2);
		now = next;
		for (const [name, part] of Object.entries(parts)) part.hidden = name !== next;
	};
	const start = isAll(tree) ? 'all' : of ? 'some' : 'json';
	const radio = (value, text) => tick(h('input', {type: 'radio', name: group, checked: value === start, onchange: () => pick(value)}), text);
	pick(start);
	return {node: h('fieldset', h('legend', 'Permissions'), radio('all', 'Everything'), radio('some', 'By category'), radio('json', 'Advanced: the tree as JSON'), Object.values(parts)), read: () => {
		if (now === 'all') return ALL;
		if (now === 'json') {
			try {return JSON.parse(json.value);} catch (error) {throw new Error(`Permissions: ${error.message}`);}
		}
		if (isAll(chosen())) throw new Error('Choose at least one category.');
		return chosen();
	}};
}
const secret = (key, text) => ask(`API key ${quote(key.name)}`, [h('p', text), copier(key.key, 'the API key')]);
function editApi(key) {
	const name = line(key?.name), may = permissionField(key?.permissions), expires = life(key?.expires_at), from = line(key?.addresses.join(', '), {maxlength: 4096});
	ask(key ? `Edit ${quote(key.name)}` : 'New API key', [field('Name', name, 'Where it is used, so that you know it again.'), may.node,
		h('details', {open: !!(key?.addresses.length || key?.expires_at)}, h('summary', 'Expiry and addresses'), expires.node, field('Only from these addresses', from, 'Such as 203.0.113.7, 2001:db8::/48. Empty: from anywhere.'))], async () => {
		const body = {name: needs(name, 'Give it a name.'), permissions: may.read(), addresses: from.value.split(/[\s,]+/).filter(Boolean), expires_at: expires.read()};
		const made = await call(key ? 'PATCH' : 'POST', key ? `/v1/api-keys/${key.id}` : '/v1/api-keys', body);
		told('api-keys', `API key ${quote(body.name)} saved.`);
		if (!key) return () => secret(made, 'Copy it to where it is used. You can view it again with your password.');
	}, {go: key ? 'Save changes' : 'Make key'});
}
// The password, and the code where the service asks for one.
function proof(auto = 'current-password') {
	const password = h('input', {type: 'password', autocomplete: auto}), code = line('', {inputmode: 'numeric', autocomplete: 'one-time-code'});
	const more = field('Code of your authenticator', code, 'Or one of your backup codes.');
	more.hidden = true;
	return {password, node: [field('Password', password), more], give: async act => {
		try {
			return await act({password: needs(password, 'Give your password.'), code: code.value.trim() || undefined});
		} catch (error) {
			if (/totp|code/.test(error.code) && more.hidden) {
				more.hidden = false;
				code.focus();
				error.message = 'Now the code of your authenticator.';
			}
			throw error;
		}
	}};
}
function revealApi(key) {
	const mine = proof();
	ask(`View ${quote(key.name)}`, [h('p.soft', 'That you looked is written to the activity log.'), mine.node], async () => {
		const shown = await mine.give(body => call('POST', `/v1/api-keys/${key.id}/reveal`, body));
		return () => secret(shown, 'Whoever has it can do what it may.');
	}, {go: 'View key'});
}
const resetApi = key => sure(`Reset ${quote(key.name)}?`, 'It gets a new secret. The old one stops at once, and whatever uses it wants the new one.', 'Reset key', async () => {
	const made = await call('POST', `/v1/api-keys/${key.id}/reset`);
	refresh('api-keys');
	return () => secret(made, 'This is the new key. The old one is dead.');
});
const dropApi = key => sure(`Delete ${quote(key.name)}?`, ['Whatever uses it is refused from now on.', ['Last used ', when(key.last_used_at), '.']], 'Delete key', async () => {
	await call('DELETE', `/v1/api-keys/${key.id}`);
	told('api-keys', `API key ${quote(key.name)} deleted.`);
});
function apiRow(key) {
	const what = `API key ${key.name}`, may = isAll(key.permissions) ? 'everything' : categoriesOf(key.permissions)?.join(', ') || 'by its own tree';
	return h('li.row.two', h('div', h('div.name', h('span', key.name), h('span.mono.soft', `…${key.tail}`), tag(`may: ${may}`), over(key.expires_at) && tag('expired', 'bad')),
		facts(['made ', when(key.created_at)], ['last used ', when(key.last_used_at), key.last_used_from && ` from ${key.last_used_from}`], key.expires_at && ['expires ', when(key.expires_at)], key.addresses.length > 0 && `only from ${key.addresses.join(', ')}`)),
	h('div.do', verb('View', what, () => revealApi(key)), verb('Edit', what, () => editApi(key)), verb('Reset', what, () => resetApi(key)), verb('Delete', what, () => dropApi(key), true)));
}

// Session keys.
const deviceOf = ({device, kind}) => [device.name, device.os].filter(Boolean).join(' on ') || `A ${kind} session`;
const endSession = x => sure(`End the session of ${deviceOf(x)}?`, x.kind === 'agent' ? 'The agent is cut off: its instance keeps the keys it has and gets no more until it is enrolled again.' : 'That device is signed out at once.', 'End session', async () => {
	await call('DELETE', `/v1/sessions/${x.id}`);
	told('sessions', 'Session ended.');
});
function endOthers() {
	const others = S.sessions.filter(x => !x.current && x.kind !== 'agent');
	sure('End all other sessions?', `${plural(others.length, 'device is', 'devices are')} signed out at once. This one stays, and so do agents and API keys.`, 'End them', async () => {
		await call('DELETE', '/v1/sessions?others=true');
		told('sessions', `${plural(others.length, 'session')} ended.`);
	});
}
const sessionRow = x => h('li.row.two', h('div', h('div.name', h('span', deviceOf(x)), tag(x.kind), x.current && tag('this browser', 'it')),
	facts(['seen ', when(x.last_seen)], x.device.address && `from ${x.device.address}`, ['signed in ', when(x.created_at)], x.expires_at && ['expires ', when(x.expires_at)])),
h('div.do', x.current ? verb('Sign out', 'this browser', signOut) : verb('End', `session of ${deviceOf(x)}`, () => endSession(x), true)));

// Pages.
let view = {};
const head = (title, text, ...tools) => h('div.head', h('div', h('h1', {tabindex: '-1'}, title), text), tools);
function card(title, text, tools, ...kids) {
	const id = fresh();
	return h('section.card', {'aria-labelledby': id}, h('div.cap', h('div', h('h2', {id, tabindex: '-1'}, title), h('p.soft', text)), tools), kids);
}
function rows(title, text, kind, tools) {
	const all = h('ul', {'aria-label': title}), none = h('p.empty', {hidden: true});
	return {node: card(title, text, tools, all, none), show: (items, empty) => {
		sync(all, items);
		none.hidden = items.length > 0;
		none.textContent = S.loaded.has(kind) ? empty : 'Loading …';
	}};
}
const summary = () => {
	const p = h('p.soft', {role: 'status'});
	return {p, show: (kind, text) => {const now = S.loaded.has(kind) ? text : 'Loading …'; if (p.textContent !== now) p.textContent = now;}};
};
const finder = label => {
	const input = h('input', {type: 'search', placeholder: label, 'aria-label': label, hidden: true, oninput: () => view.draw()});
	return {input, of: (all, text) => {
		const wanted = input.value.trim().toLowerCase();
		input.hidden = all.length < 9 && !wanted;
		return wanted ? all.filter(one => text(one).toLowerCase().includes(wanted)) : all;
	}};
};
function keysPage() {
	const sum = summary(), find = finder('Find a key');
	const ssh = rows('SSH keys', 'They log in over SSH. A saved key goes to every instance; “proved” is the word of sshd there.', 'ssh-keys', [find.input, button('+ New', () => editKey(), {cls: 'go', label: '+ New SSH key'})]);
	const more = button('Show more', () => {view.limit += 50; refresh('rollouts'); view.draw();});
	const api = rows('API keys', 'For programs that call the service.', 'api-keys', button('+ New', () => editApi(), {cls: 'go', label: '+ New API key'}));
	const others = button('End all others', endOthers, {label: 'End all others: sessions'});
	const sessions = rows('Session keys', 'Who is signed in. An ended one is out at once; each lasts a week.', 'sessions', others);
	const agents = h('ul'), count = h('summary'), fold = h('details.pad', count, agents);
	ssh.node.append(more);
	sessions.node.append(fold);
	main.replaceChildren(head('Keys', sum.p), ssh.node, api.node, sessions.node);
	return {limit: 50, needs: ['ssh-keys', 'api-keys', 'sessions', 'instances', 'rollouts'], draw: () => {
		const live = S.instances.filter(i => i.state === 'live').length, open = S.instances.reduce((n, i) => n + openOf(i).length, 0);
		sum.show('instances', `${plural(S.keys.length, 'SSH key')} · ${live} of ${plural(S.instances.length, 'instance')} live · ${plural(open, 'open SSH session')}`);
		const keys = find.of(S.keys, k => `${k.name} ${k.fingerprint} ${k.public_key}`);
		ssh.show([...S.gone.map(gone => [`gone${gone.id}`, {gone, roll: rollOf(gone)}, goneRow]), ...keys.slice(0, view.limit).map(key => [key.id, {key, roll: rollOf(key)}, keyRow])],
			S.keys.length ? 'No key is like that.' : 'No SSH key yet. Add the first: it reaches your instances within a second.');
		more.hidden = keys.length <= view.limit;
		api.show(S.api.map(key => [key.id, key, apiRow]), 'No API key yet.');
		const people = S.sessions.filter(x => x.kind !== 'agent').sort((a, b) => b.current - a.current), machines = S.sessions.filter(x => x.kind === 'agent');
		sessions.show(people.map(x => [x.id, x, sessionRow]), 'No session.');
		others.disabled = people.length < 2;
		fold.hidden = !machines.length;
		count.textContent = `Sessions of agents (${machines.length})`;
		sync(agents, machines.slice(0, 200).map(x => [x.id, x, sessionRow]));
	}};
}

const stateTag = state => tag(state === 'never' ? 'not enrolled yet' : state, {live: 'ok', stale: 'warn', removing: 'warn', offline: 'bad'}[state]);
function provedOn(i) {
	const all = new Set(targetsOf(i).flatMap(t => [...held(t)])), good = new Set(targetsOf(i).flatMap(t => t.proof?.accepted || []));
	return `${good.size} of ${all.size}`;
}
function addInstance() {
	const label = line();
	ask('Add an instance', field('Label', label, 'What you call the machine.'), async () => {
		const made = await call('POST', '/v1/instances', {label: needs(label, 'Give it a label.')});
		refresh('instances');
		return () => {
			const state = h('p.found', {role: 'status'}, 'Waiting for it to report …');
			const look = setInterval(() => {
				const it = S.instances.find(i => i.id === made.id);
				if (it?.state !== 'live') return;
				clearInterval(look);
				state.classList.add('ok');
				state.textContent = `It is live${it.hostname ? `, as ${it.hostname}` : ''}.`;
			}, 250);
			ask(`Install on ${quote(made.label)}`, [h('p', 'Run this as root there, or put it into its cloud-init or onstart script. Its token works once, for a day.'), copier(made.install, 'the install line'), state], null, {done: () => clearInterval(look)});
		};
	}, {go: 'Make install line'});
}
function renameInstance(i) {
	const label = line(i.label);
	ask(`Rename ${quote(i.label)}`, field('Label', label), async () => {
		await call('PATCH', `/v1/instances/${i.id}`, {label: needs(label, 'Give it a label.')});
		told('instances', 'Instance renamed.');
	});
	label.select();
}
function removeInstance(i) {
	const name = fresh(), open = openOf(i).length, end = box();
	const radio = checked => h('input', {type: 'radio', name, checked});
	const take = radio(false);
	ask(`Remove ${quote(i.label)}?`, [h('p', 'Its agent is told, stops, and is forgotten here. The machine runs on.'),
		h('fieldset', h('legend', 'The keys on it'), tick(radio(true), 'Leave them: who can log in now still can'), tick(take, 'Take them out: no key of this account logs in there')),
		open > 0 && tick(end, `End its ${plural(open, 'open SSH session')} too`)], async () => {
		await call('DELETE', `/v1/instances/${i.id}?take_keys=${take.checked}&end_sessions=${end.checked}`);
		location.hash = '#instances';
		told('instances', `Instance ${quote(i.label)} is being removed.`);
	}, {go: 'Remove instance', harm: true});
}
const buttonsOf = i => h('div.do', verb('Rename', i.label, () => renameInstance(i)), verb('Remove', i.label, () => removeInstance(i), true));
// Of an instance what its row shows, so that a heartbeat that says nothing new changes nothing.
const brief = i => [i.label, i.state, i.hostname, i.device?.os, i.status?.version, provedOn(i), openOf(i).length, (i.status?.conditions || []).map(c => c.severity), i.state !== 'live' && i.last_seen];
const instanceRow = i => () => {
	const bad = (i.status?.conditions || []).filter(c => c.severity !== 'notice');
	return h('li.row', h('div', h('div.name', h('a', {href: `#instances/${i.id}`, 'data-f': `i${i.id}`}, i.label), stateTag(i.state), bad.length > 0 && tag(plural(bad.length, 'condition'), bad.some(c => c.severity === 'error') ? 'bad' : 'warn')),
		facts(i.hostname, i.device?.os, i.status && `agent ${i.status.version}`, i.state !== 'live' && i.last_seen && ['last heard ', when(i.last_seen)])),
	i.status ? h('div', h('strong', `${provedOn(i)} keys proved`), h('div.small.soft', plural(openOf(i).length, 'open SSH session'))) : soft('No report yet'), buttonsOf(i));
};
// Times from save to proof of the last day: a dot an instance and key, on a scale by decades.
function plot(dots) {
	const W = 1000, H = 170, L = 64, B = 24, now = Date.now(), sorted = dots.map(d => d.ms).sort((a, b) => a - b);
	const top = Math.max(1e4, ...sorted), x = at => L + (W - L - 8) * (1 - (now - at) / DAY), y = ms => 8 + (H - B - 8) * (1 - Math.log(Math.max(ms, 10) / 10) / Math.log(top / 10));
	const text = (px, py, said, anchor) => svg('text', {x: px, y: py, 'text-anchor': anchor}, said);
	const said = `${plural(dots.length, 'proof')}: median ${millis(sorted[sorted.length >> 1])}, slowest ${millis(sorted.at(-1))}.`;
	return [svg('svg.plot', {viewBox: `0 0 ${W} ${H}`, role: 'img', 'aria-label': said},
		[10, 100, 1e3, 1e4, 1e5, 1e6].filter(ms => ms <= top).map(ms => [svg('line', {x1: L, x2: W - 8, y1: y(ms), y2: y(ms)}), text(L - 8, y(ms) + 5, ms < 1e3 ? `${ms} ms` : `${ms / 1e3} s`, 'end')]),
		[24, 18, 12, 6, 0].map(n => text(x(now - n * 36e5), H - 6, n ? `${n} h ago` : 'now', n === 24 ? 'start' : n ? 'middle' : 'end')),
		dots.map(d => svg('circle', {cx: x(d.at), cy: y(d.ms), r: 3}, svg('title', `${d.what}: ${millis(d.ms)}`)))), h('p.small.soft', said)];
}
function plotCard(only) {
	const place = h('div.pad');
	return {node: card('From save to proof', 'The last 24 hours: how long a saved key took until sshd there took it.', null, place), draw: () => {
		const dots = S.keys.flatMap(key => {
			const at = +new Date(key.created_at), all = Date.now() - at < DAY ? rollOf(key)?.instances || [] : [];
			return all.filter(i => (i.proved_after_ms ?? -1) >= 0 && (!only || i.instance === only)).map(i => ({at: at + i.proved_after_ms, ms: i.proved_after_ms, what: `${key.name} on ${i.label}`}));
		});
		sync(place, [['plot', dots, () => h('div', dots.length ? plot(dots) : h('p.soft', 'No key was saved in the last 24 hours.'))]]);
	}};
}
function instancesPage() {
	const sum = summary(), find = finder('Find an instance'), chart = plotCard();
	const all = rows('All instances', 'Machines whose agent keeps your keys live.', 'instances', [find.input, button('+ Add', addInstance, {cls: 'go', label: '+ Add an instance'})]);
	main.replaceChildren(head('Instances', sum.p), all.node, chart.node);
	return {needs: ['instances', 'ssh-keys', 'rollouts'], draw: () => {
		const count = state => S.instances.filter(i => i.state === state).length;
		sum.show('instances', ['live', 'stale', 'offline', 'never', 'removing'].filter(k => k === 'live' || count(k)).map(k => `${count(k)} ${k === 'never' ? 'not enrolled yet' : k}`).join(' · '));
		const found = find.of(S.instances, i => `${i.label} ${i.hostname} ${i.state}`);
		all.show(found.slice(0, 200).map(i => [i.id, brief(i), instanceRow(i)]), S.instances.length ? 'No instance is like that.' : 'No instance yet. Add one: you get a line to run on it.');
		chart.draw();
	}};
}
function instancePage(id) {
	const place = h('div'), chart = plotCard(id);
	main.replaceChildren(h('p', h('a', {href: '#instances'}, '← Instances')), place, chart.node);
	return {needs: ['instances', 'ssh-keys', 'rollouts'], draw: () => {
		const i = S.instances.find(one => one.id === id), st = i?.status;
		if (!i) return sync(place, [['none', S.loaded.has('instances'), known => head(known ? 'There is no such instance' : 'Loading …')]]);
		doc.title = `${i.label} – sshkeyd`;
		const keys = S.keys.map(key => ({key, wanted: i.attached.includes(key.id) || key.scope !== 'some' && !i.detached.includes(key.id), at: rollOf(key)?.instances.find(one => one.instance === id), there: targetsOf(i).some(t => held(t).has(key.fingerprint))}));
		sync(place, [
			['head', brief(i), () => head(i.label, h('p.name', stateTag(i.state), soft(i.hostname), i.state !== 'live' && i.last_seen && soft('last heard ', when(i.last_seen))), buttonsOf(i))],
			['facts', brief(i), () => h('dl.card.tiles', Object.entries({'Keys proved': provedOn(i), 'Open SSH sessions': openOf(i).length, Agent: st?.version, System: i.device?.os, Kernel: i.device?.kernel}).map(([name, value]) => h('div', h('dt', name), h('dd', String(value ?? '–')))))],
			['conditions', st?.conditions, conditionsCard],
			['keys', keys, () => keysCard(i, keys)],
			['sessions', [openOf(i), S.keys.length], () => sshCard(openOf(i))]]);
		chart.draw();
	}};
}
const conditionsCard = all => card('Conditions', !all ? 'It has not reported yet.' : all.length ? 'What its agent says is wrong, and what to do.' : 'None: all is as it should be.', null,
	(all || []).map(c => h(`div.cond.${c.severity}`, h('div.name', tag(c.code, {error: 'bad', warning: 'warn'}[c.severity]), soft(c.about, ' since ', when(c.since))), h('p', words(c.text)), c.do && h('p', h('strong', 'What to do: '), c.do))));
const keysCard = (i, keys) => card('SSH keys here', 'A detached key stays away from this instance until it is attached again.', null, h('ul', keys.map(({key, wanted, at, there}) => h('li.row',
	h('div', h('div.name', key.name), h('div.mono.soft', key.fingerprint)),
	h('div', !wanted ? tag(there ? 'being taken out' : 'not here') : at && [tag(at.state, {proved: 'ok', refused: 'bad'}[at.state] || 'warn'), ' ', soft(standing(at).replace(/^proved,? ?/, ''))]),
	h('div.do', wanted ? verb('Detach', key.name, () => attach(i, key, 'DELETE', 'detached')) : verb('Attach', key.name, () => attach(i, key, 'PUT', 'attached')))))),
!keys.length && h('p.empty', 'The account has no SSH key yet.'));
async function attach(i, key, method, done) {
	await call(method, `/v1/instances/${i.id}/ssh-keys/${key.id}`);
	told('instances', `${quote(key.name)} ${done}.`);
	refresh('rollouts');
}
function sshCard(open) {
	const opener = x => S.keys.find(key => key.fingerprint === x.fingerprint)?.name || (x.certificate ? `certificate ${x.certificate.key_id}, serial ${x.certificate.serial}` : x.fingerprint || 'an unknown key');
	return card('Open SSH sessions', open.length ? 'Each with the key that opened it, by sshd’s own word.' : 'None is open.', null,
		h('ul', open.map(x => h('li.row.two', h('div', h('div.name', `${x.user} from ${x.from}`, x.kind && tag(x.kind), x.unproved && tag('unproved', 'warn')), facts(['opened with ', h('strong', opener(x))], ['since ', when(x.since)])), soft(`pid ${x.pid}`)))));
}
function activityPage() {
	const body = h('tbody'), none = h('p.empty');
	let older = [], next;
	const more = button('Show older', async () => {
		try {
			const page = await call('GET', `/v1/audit?before=${encodeURIComponent(next)}`);
			older = older.concat(page.items);
			next = page.next;
			view.draw();
		} catch (error) {fault(error);}
	}, {hidden: true});
	main.replaceChildren(head('Activity', h('p.soft', 'Who did what, from where and with which key; refused attempts too.')),
		h('section.card', {'aria-label': 'Activity'}, h('table', h('thead', h('tr', ['When', 'Who', 'What', 'From'].map(text => h('th', {scope: 'col'}, text)))), body), none, more));
	return {needs: ['audit'], draw: () => {
		const last = older.length ? older[0].id : -1, all = [...S.audit.filter(a => a.id > last), ...older];
		if (next === undefined && S.loaded.has('audit')) next = S.older;
		if (!older.length && S.loaded.has('audit')) older = S.audit;
		sync(body, all.map(a => [a.id, a, auditRow]));
		none.hidden = all.length > 0;
		none.textContent = S.loaded.has('audit') ? 'Nothing has happened yet.' : 'Loading …';
		more.hidden = !next;
	}};
}
const plain = value => value && typeof value === 'object' ? JSON.stringify(value) : String(value);
const auditRow = a => h('tr', h('td', when(a.at)), h('td', a.by.name || a.by.kind, ' ', soft(a.by.name && a.by.kind)),
	h('td', h('strong', a.action), a.about !== null && ` ${a.about} `, a.outcome !== 'done' && tag(a.outcome, 'bad'), h('div.small.soft', Object.entries(a.detail || {}).map(([name, value]) => `${name}: ${plain(value)}`).join(' · '))), h('td.soft', a.address || '–'));

// People.
function changePassword() {
	const mine = proof(), next = h('input', {type: 'password', autocomplete: 'new-password'});
	ask('Change password', [h('p.soft', 'All other sessions end.'), mine.node, field('New password', next)], async () => {
		await mine.give(body => call('POST', '/v1/account/password', {...body, new_password: needs(next, 'Give a new password.')}));
		told('sessions', 'Password changed; all other sessions have ended.');
	}, {go: 'Change password'});
}
async function signOut() {
	await call('DELETE', '/v1/sessions/current');
	signedOut('You are signed out.');
}
function signedOut(text) {
	if (!S.me) return;
	events?.close();
	events = null;
	Object.assign(S, nothing());
	for (const open of doc.querySelectorAll('dialog')) open.close();
	signPage(text);
}
function signPage(text, up) {
	view = {};
	trouble('');
	doc.title = 'Sign in – sshkeyd';
	$('nav').hidden = $('me').hidden = true;
	const email = h('input', {type: 'email', autocomplete: 'username', autocapitalize: 'off'}), mine = proof(up && 'new-password');
	const error = h('p.error', {role: 'alert'}), go = h('button.go', up ? 'Create account' : 'Sign in');
	main.replaceChildren(h('form.card.sign', {novalidate: true, onsubmit: async event => {
		event.preventDefault();
		if (go.disabled) return;
		error.textContent = '';
		go.disabled = true;
		try {
			const who = needs(email, 'Give your email.');
			await mine.give(async body => {
				if (up) await call('POST', '/v1/sign-up', {email: who, password: body.password});
				else await call('POST', '/v1/login', {...body, email: who, device: browserName()});
			});
			await begin(true);
		} catch (fault) {
			error.textContent = fault.message;
		}
		go.disabled = false;
	}}, h('h1', {tabindex: '-1'}, up ? 'Create an account' : 'Sign in'), text && h('p.soft', {role: 'status'}, text), field('Email', email), mine.node, error, go,
	'signUp' in doc.documentElement.dataset && h('p.soft', button(up ? 'I have an account' : 'Create an account', () => signPage('', !up), {cls: 'link'}))));
	email.focus();
}
function browserName() {
	const first = of => of.find(([, is]) => is.test(navigator.userAgent))?.[0] || '';
	return {name: first([['Edge', /Edg\//], ['Firefox', /Firefox\//], ['Chrome', /Chrom/], ['Safari', /Safari\//]]) || 'Browser',
		os: first([['Android', /Android/], ['iOS', /iPhone|iPad/], ['macOS', /Mac OS X/], ['Windows', /Windows/], ['Linux', /Linux/]])};
}

function route(moved) {
	if (!S.me) return;
	const [page, id] = location.hash.slice(1).split('/'), title = {instances: 'Instances', activity: 'Activity'}[page] || 'Keys';
	for (const link of $('nav').children) link.setAttribute('aria-current', link.textContent === title ? 'page' : 'false');
	doc.title = `${title} – sshkeyd`;
	view = page === 'instances' && id ? instancePage(Number(id)) : {Instances: instancesPage, Activity: activityPage, Keys: keysPage}[title]();
	view.draw();
	refresh(...view.needs.filter(kind => kind !== 'rollouts'));
	if (!moved) return;
	scrollTo(0, 0);
	main.querySelector('h1')?.focus({preventScroll: true});
}
async function begin(moved) {
	S.me = await call('GET', '/v1/account');
	$('me').replaceChildren(h('span.soft.mail', S.me.email), button('Password', changePassword, {cls: 'lite', label: 'Password: change it'}), button('Sign out', () => signOut().catch(fault), {cls: 'lite'}));
	$('nav').hidden = $('me').hidden = false;
	route(moved);
	listen();
}
addEventListener('hashchange', () => route(true));
begin().catch(error => {
	signPage('');
	if (error.status !== 401) trouble(error.message);
});
