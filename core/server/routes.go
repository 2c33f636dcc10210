package server

import "net/http"

// route is one thing that a request can ask for.
type route struct {
	Method, Path string
	Role         Role   // that a caller needs; Nobody: no sign-in
	Own          bool   // it shows each caller what is theirs, so that any may ask
	Foreign      bool   // another site may send it: it proves by other means who it is
	Summary      string // of the API; empty: a page
	Query, Body  any    // of the API: values whose fields say what is taken
	Answer       any    // of the API: a value of the type that is answered

	handle handler
}

// routes lists everything that can be asked for. A test tries each with each role.
func (s *Server) routes() []route {
	const (
		run = "/p/{pipeline}/runs/{run}"
		env = "/p/{pipeline}/environments/{environment}"
		api = "/api/v1"
	)
	get := func(path string, role Role, h handler) route {
		return route{Method: http.MethodGet, Path: path, Role: role, handle: h}
	}
	post := func(path string, role Role, h handler) route {
		return route{Method: http.MethodPost, Path: path, Role: role, handle: h}
	}
	own := func(path string, h handler) route {
		return route{Method: http.MethodGet, Path: path, Role: Viewer, Own: true, handle: h}
	}
	hook := func(path string, h handler) route {
		return route{Method: http.MethodPost, Path: path, Foreign: true, handle: h}
	}
	list := []route{
		own("/{$}", s.homePage),
		get("/p/{pipeline}", Viewer, s.pipelinePage),
		get("/p/{pipeline}/trend", Viewer, s.trendPage),
		get(run, Viewer, s.runPage),
		get(run+"/live", Viewer, s.runLive),
		get(run+"/log/{source}", Viewer, s.logPage),
		get(run+"/log/{source}/live", Viewer, s.logLive),
		get(run+"/compare/{other}", Viewer, s.comparePage),
		get(env, Viewer, s.environmentPage),
		get(env+"/panel/{panel}", Viewer, s.panel),
		get(env+"/plan", Viewer, s.planPage),
		own("/queue", s.queuePage),
		own("/audit", s.auditPage),
		own("/acts/{act}", s.actPage),
		own("/account", s.accountPage),
		get("/people", Owner, s.peoplePage),

		post("/p/{pipeline}/run", Operator, s.postRun),
		post(run+"/cancel", Operator, s.postCancel),
		post(run+"/admit", Operator, s.postAdmit),
		post(env+"/approve", Approver, s.postApprove),
		post(env+"/flag", Operator, s.postFlag),
		post(env+"/alert", Operator, s.postAlert),
		post(env+"/drift", Operator, s.postDrift),
		post(env+"/action/{type}/{action}", Operator, s.postAction),
		{Method: http.MethodPost, Path: "/account/token", Role: Viewer, Own: true, handle: s.postToken},
		{Method: http.MethodPost, Path: "/account/revoke", Role: Viewer, Own: true, handle: s.postRevoke},
		post("/people", Owner, s.postPerson),

		get("/sign-in", Nobody, s.signInPage),
		post("/sign-in", Nobody, s.postSignIn),
		post("/sign-out", Nobody, s.postSignOut),
		get("/sign-in/oidc", Nobody, s.startOIDC),
		get("/sign-in/oidc/back", Nobody, s.endOIDC),
		get("/invite/{secret}", Nobody, s.invitePage),
		post("/invite/{secret}", Nobody, s.postInvite),
		get("/healthz", Nobody, s.health),
		get("/metrics", Viewer, s.metricsPage),

		hook("/hooks/github/{pipeline}", s.github),
		hook("/hooks/gitlab/{pipeline}", s.gitlab),
		hook("/hooks/gitea/{pipeline}", s.gitea),
		hook("/hooks/generic/{pipeline}", s.generic),

		get("/api/v1/openapi.json", Nobody, s.openAPI),
	}
	return append(list, s.apiRoutes(api)...)
}
