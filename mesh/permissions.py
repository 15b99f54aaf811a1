"""Who may call what: every RPC has an entry here, or the service does not start.

A scope names what a caller's key must hold ("" = any proven caller); `SERVICES` lists, by service, the methods it may
call on its own account.
"""

from collections.abc import Iterable, Mapping

from mesh.errors import MeshError, Reason


class _Anyone:
    """The type of ANYONE."""


ANYONE = _Anyone()
"""No principal is needed."""


PERMISSIONS: Mapping[str, str | _Anyone] = {
    "/grpc.health.v1.Health/Check": ANYONE,
    "/grpc.health.v1.Health/Watch": ANYONE,
    "/grpc.health.v1.Health/List": ANYONE,
    # Envoy has no principal. Budget refuses it unless its operator has let Envoy in (budget.envoy_rate_limits).
    "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit": ANYONE,
    "/dac.gateway.v1.ChatService/Chat": "chat",
    "/dac.gateway.v1.ValidationService/Validate": "chat",
    "/dac.gateway.v1.IdentityService/CreateOrganisation": "operator",
    "/dac.gateway.v1.IdentityService/ListOrganisations": "",
    "/dac.gateway.v1.IdentityService/CreateApiKey": "admin",
    "/dac.gateway.v1.IdentityService/ListApiKeys": "admin",
    "/dac.gateway.v1.IdentityService/UpdateApiKey": "admin",
    "/dac.gateway.v1.IdentityService/RevokeApiKey": "admin",
    "/dac.gateway.v1.IdentityService/ImportKeys": "operator",
    "/dac.gateway.v1.IdentityService/GetCaller": "",
    "/dac.gateway.v1.IdentityService/RotateMasterKey": "operator",
    "/dac.gateway.v1.IdentityService/CreateTeam": "admin",
    "/dac.gateway.v1.IdentityService/ListTeams": "read",
    "/dac.gateway.v1.IdentityService/UpdateTeam": "admin",
    "/dac.gateway.v1.IdentityService/DeleteTeam": "admin",
    "/dac.gateway.v1.IdentityService/CreateProject": "admin",
    "/dac.gateway.v1.IdentityService/ListProjects": "read",
    "/dac.gateway.v1.IdentityService/UpdateProject": "admin",
    "/dac.gateway.v1.IdentityService/DeleteProject": "admin",
    "/dac.gateway.v1.IdentityService/CreateUser": "admin",
    "/dac.gateway.v1.IdentityService/ListUsers": "admin",
    "/dac.gateway.v1.IdentityService/UpdateUser": "admin",
    "/dac.gateway.v1.IdentityService/DeleteUser": "admin",
    "/dac.gateway.v1.TenantService/CreateTenant": "operator",
    "/dac.gateway.v1.TenantService/ListTenants": "operator",
    "/dac.gateway.v1.TenantService/GetTenant": "operator",
    "/dac.gateway.v1.TenantService/UpdateTenant": "operator",
    "/dac.gateway.v1.TenantService/DeleteTenant": "operator",
    "/dac.gateway.v1.RedactionService/Redact": "chat",
    "/dac.router.v1.RouterService/Route": "chat",
    "/dac.router.v1.RouterService/ReportOutcomes": "",
    "/dac.router.v1.RouterService/GetStatus": "",
    "/dac.router.v1.RouterService/ForceBreaker": "operator",
    "/dac.router.v1.CatalogService/ListModels": "",
    "/dac.router.v1.CatalogService/GetModel": "",
    "/dac.router.v1.LearningService/GetLearned": "read",
    "/dac.router.v1.LearningService/SubmitFeedback": "chat",
    "/dac.router.v1.LearningService/ResetLearned": "admin",
    "/dac.router.v1.CatalogService/SearchModels": "",
    "/dac.router.v1.CatalogService/CompareModels": "",
    "/dac.router.v1.CatalogService/ListProviders": "",
    "/dac.router.v1.CatalogService/GetRankings": "",
    "/dac.router.v1.CatalogService/RefreshSources": "admin",
    "/dac.router.v1.ExperimentService/CreateExperiment": "admin",
    "/dac.router.v1.ExperimentService/GetExperiment": "admin",
    "/dac.router.v1.ExperimentService/ListExperiments": "admin",
    "/dac.router.v1.ExperimentService/UpdateExperiment": "admin",
    "/dac.router.v1.ExperimentService/DeleteExperiment": "admin",
    "/dac.router.v1.PolicyService/CreatePolicy": "admin",
    "/dac.router.v1.PolicyService/GetPolicy": "read",
    "/dac.router.v1.PolicyService/ListPolicies": "read",
    "/dac.router.v1.PolicyService/UpdatePolicy": "admin",
    "/dac.router.v1.PolicyService/DeletePolicy": "admin",
    "/dac.router.v1.PolicyService/ListPolicyVersions": "admin",
    "/dac.router.v1.PolicyService/RollbackPolicy": "admin",
    "/dac.router.v1.PolicyService/AssignPolicy": "admin",
    "/dac.router.v1.PolicyService/UnassignPolicy": "admin",
    "/dac.router.v1.PolicyService/ListAssignments": "read",
    "/dac.router.v1.PolicyService/TestPolicy": "admin",
    "/dac.router.v1.PolicyService/ListTenantRules": "operator",
    "/dac.router.v1.PolicyService/SetTenantRules": "operator",
    "/dac.router.v1.PolicyService/NameOrganisations": "operator",
    "/dac.provider.v1.ProviderService/Generate": "chat",
    "/dac.provider.v1.ProviderService/Embed": "chat",
    "/dac.provider.v1.ProviderService/Audio": "chat",
    "/dac.provider.v1.ProviderService/WatchProviders": "operator",
    "/dac.provider.v1.ProviderService/Discover": "admin",
    "/dac.provider.v1.ProviderService/Probe": "operator",
    "/dac.provider.v1.ProviderService/ListListings": "",
    "/dac.provider.v1.ProviderService/WatchListings": "operator",
    "/dac.provider.v1.KeyService/AddProvider": "operator",
    "/dac.provider.v1.KeyService/ListProviders": "admin",
    "/dac.provider.v1.KeyService/RemoveProvider": "operator",
    "/dac.provider.v1.KeyService/CreateProviderKey": "admin",
    "/dac.provider.v1.KeyService/ListProviderKeys": "admin",
    "/dac.provider.v1.KeyService/UpdateProviderKey": "admin",
    "/dac.provider.v1.KeyService/DeleteProviderKey": "admin",
    "/dac.provider.v1.KeyService/RotateProviderKeys": "operator",
    "/dac.memory.v1.ConversationService/CreateThread": "chat",
    "/dac.memory.v1.ConversationService/GetThread": "read",
    "/dac.memory.v1.ConversationService/ListThreads": "read",
    "/dac.memory.v1.ConversationService/DeleteThread": "chat",
    "/dac.memory.v1.ConversationService/ListMessages": "read",
    "/dac.memory.v1.ConversationService/UpdateThread": "chat",
    "/dac.memory.v1.ConversationService/RestoreThread": "chat",
    "/dac.memory.v1.ConversationService/GetMessage": "read",
    "/dac.memory.v1.ConversationService/UpdateMessage": "chat",
    "/dac.memory.v1.ConversationService/DeleteMessage": "chat",
    "/dac.memory.v1.ConversationService/ListBranches": "read",
    "/dac.memory.v1.ConversationService/CreateBranch": "chat",
    "/dac.memory.v1.ConversationService/ActivateBranch": "chat",
    "/dac.memory.v1.ConversationService/MergeBranch": "chat",
    "/dac.memory.v1.ConversationService/GetBranchStats": "read",
    "/dac.memory.v1.ConversationService/DeleteBranch": "chat",
    "/dac.memory.v1.ConversationService/AppendMessages": "chat",
    "/dac.memory.v1.ConversationService/OpenTurn": "chat",
    "/dac.memory.v1.ArchiveService/SearchMessages": "read",
    "/dac.memory.v1.ArchiveService/GetConversationFull": "read",
    "/dac.memory.v1.ArchiveService/BatchConversations": "chat",
    "/dac.memory.v1.ArchiveService/GetConversationStats": "read",
    "/dac.memory.v1.ArchiveService/ExportConversation": "read",
    "/dac.memory.v1.ArchiveService/ImportConversation": "chat",
    "/dac.memory.v1.MemoryService/Remember": "chat",
    "/dac.memory.v1.MemoryService/Recall": "read",
    "/dac.memory.v1.MemoryService/ListMemories": "read",
    "/dac.memory.v1.MemoryService/GetMemory": "read",
    "/dac.memory.v1.MemoryService/UpdateMemory": "chat",
    "/dac.memory.v1.MemoryService/DeleteMemory": "chat",
    "/dac.memory.v1.MemoryService/DeleteMemories": "chat",
    "/dac.memory.v1.MemoryService/GetMemoryHistory": "read",
    "/dac.memory.v1.MemoryService/ExportMemories": "read",
    "/dac.memory.v1.MemoryService/EraseMemories": "chat",
    "/dac.memory.v1.MemoryService/GetProfile": "read",
    "/dac.memory.v1.MemoryService/BuildContext": "chat",
    "/dac.memory.v1.MemoryService/GetSummary": "read",
    "/dac.memory.v1.MemoryService/UpdateSummary": "chat",
    "/dac.memory.v1.MemoryService/Embed": "chat",
    "/dac.memory.v1.CacheService/Lookup": "chat",
    "/dac.memory.v1.CacheService/Store": "chat",
    "/dac.memory.v1.CacheService/GetCacheStatistics": "read",
    "/dac.memory.v1.CacheService/PurgeCache": "admin",
    "/dac.memory.v1.CacheService/ReportCacheFeedback": "chat",
    "/dac.memory.v1.SealingService/GetSealStatus": "admin",
    "/dac.memory.v1.SealingService/RotateDataKey": "admin",
    "/dac.memory.v1.SealingService/RewrapDataKeys": "operator",
    "/dac.memory.v1.SealingService/EraseOrganisation": "admin",
    "/dac.memory.v1.VectorService/CreateCollection": "chat",
    "/dac.memory.v1.VectorService/ListCollections": "read",
    "/dac.memory.v1.VectorService/GetCollection": "read",
    "/dac.memory.v1.VectorService/DeleteCollection": "chat",
    "/dac.memory.v1.VectorService/UpsertVectors": "chat",
    "/dac.memory.v1.VectorService/SearchVectors": "read",
    "/dac.memory.v1.VectorService/DeleteVectors": "chat",
    "/dac.memory.v1.VectorService/ReindexCollection": "chat",
    "/dac.memory.v1.VectorService/GetEmbedder": "",
    "/dac.budget.v1.BudgetService/Reserve": "chat",
    "/dac.budget.v1.BudgetService/Commit": "",
    "/dac.budget.v1.BudgetService/Release": "",
    "/dac.budget.v1.BudgetService/Extend": "",
    "/dac.budget.v1.BudgetService/Adjust": "admin",
    "/dac.budget.v1.BudgetService/Session": "operator",
    "/dac.budget.v1.BudgetService/SetBudget": "admin",
    "/dac.budget.v1.BudgetService/CreateBudget": "admin",
    "/dac.budget.v1.BudgetService/GetBudget": "read",
    "/dac.budget.v1.BudgetService/UpdateBudget": "admin",
    "/dac.budget.v1.BudgetService/ListBudgets": "read",
    "/dac.budget.v1.BudgetService/DeleteBudget": "admin",
    "/dac.budget.v1.BudgetService/StopSpending": "admin",
    "/dac.budget.v1.BudgetService/ResumeSpending": "admin",
    "/dac.budget.v1.BudgetService/VerifyLedger": "admin",
    "/dac.budget.v1.LimitService/SetRateLimit": "admin",
    "/dac.budget.v1.LimitService/ListRateLimits": "read",
    "/dac.budget.v1.LimitService/DeleteRateLimit": "admin",
    "/dac.budget.v1.LimitService/Admit": "chat",
    "/dac.budget.v1.UsageService/QueryUsage": "read",
    "/dac.budget.v1.UsageService/ExportUsage": "read",
    "/dac.budget.v1.UsageService/GetBudgetStatus": "read",
    "/dac.budget.v1.UsageService/GetMyUsage": "",
    "/dac.budget.v1.UsageService/GetMyBalance": "",
    "/dac.budget.v1.PriceService/WatchPrices": "operator",
    "/dac.budget.v1.PriceService/Propose": "operator",
    "/dac.budget.v1.PriceService/ListPrices": "read",
    "/dac.budget.v1.PriceService/SetPrice": "operator",
    "/dac.budget.v1.RecordService/FetchRecords": "operator",
    "/dac.audit.v1.AuditService/Append": "operator",
    "/dac.audit.v1.AuditService/ListRequests": "read",
    "/dac.audit.v1.AuditService/GetRequest": "read",
    "/dac.audit.v1.AuditService/ListChanges": "admin",
    "/dac.audit.v1.AuditService/ExportRequests": "read",
    "/dac.audit.v1.AuditService/ExportChanges": "admin",
    "/dac.audit.v1.AuditService/FollowRequests": "read",
    "/dac.audit.v1.LogService/GetCheckpoint": "read",
    "/dac.audit.v1.LogService/GetInclusionProof": "read",
    "/dac.audit.v1.LogService/GetConsistencyProof": "read",
    "/dac.audit.v1.LogService/Export": "admin",
    "/dac.audit.v1.LogService/ReadLog": "operator",
    "/dac.audit.v1.LogService/ReadFile": "read",
    "/dac.audit.v1.LogService/GetStart": "operator",
    "/dac.audit.v1.LogService/ReportArchive": "operator",
    "/dac.audit.v1.RetentionService/Erase": "admin",
    "/dac.audit.v1.RetentionService/Prune": "operator",
    "/dac.audit.v1.RetentionService/SetHold": "admin",
    "/dac.audit.v1.RetentionService/LiftHold": "admin",
    "/dac.audit.v1.RetentionService/ListHolds": "admin",
    "/dac.audit.v1.SealingService/GetPayloadSealing": "admin",
    "/dac.audit.v1.SealingService/RewrapPayloadKeys": "operator",
    "/dac.audit.v1.TextService/KeepTexts": "operator",
    "/dac.audit.v1.TextService/GetText": "admin",
    "/dac.audit.v1.AnalyticsService/GetDashboard": "read",
    "/dac.audit.v1.AnalyticsService/GetMyDashboard": "",
    "/dac.audit.v1.AnalyticsService/ListRecommendations": "read",
    "/dac.audit.v1.AnalyticsService/RebuildAnalytics": "admin",
}
"""The scope every method needs."""

SERVICES: Mapping[str, frozenset[str]] = {
    "gateway": frozenset(
        {
            "/dac.audit.v1.AuditService/Append",
            "/dac.audit.v1.TextService/KeepTexts",
            "/dac.budget.v1.BudgetService/Session",
            "/dac.memory.v1.VectorService/GetEmbedder",
            "/dac.router.v1.RouterService/GetStatus",
            "/dac.router.v1.RouterService/ReportOutcomes",
            "/dac.router.v1.CatalogService/ListModels",
            "/dac.router.v1.PolicyService/NameOrganisations",
        }
    ),
    "router": frozenset(
        {
            "/dac.provider.v1.ProviderService/WatchProviders",
            "/dac.provider.v1.ProviderService/WatchListings",
            "/dac.budget.v1.PriceService/WatchPrices",
            "/dac.budget.v1.RecordService/FetchRecords",
            "/dac.audit.v1.AuditService/Append",
        }
    ),
    "provider": frozenset({"/dac.audit.v1.AuditService/Append", "/dac.budget.v1.PriceService/Propose"}),
    "memory": frozenset({"/dac.audit.v1.AuditService/Append", "/dac.budget.v1.BudgetService/Commit"}),
    "budget": frozenset({"/dac.audit.v1.AuditService/Append"}),
    "audit": frozenset({"/dac.budget.v1.RecordService/FetchRecords"}),
}
"""What each service may call on its own account."""


def permission_of(method: str) -> str | _Anyone:
    """The scope `method` needs. Raises UNIMPLEMENTED for a method without an entry."""
    try:
        return PERMISSIONS[method]
    except KeyError:
        raise MeshError(Reason.UNIMPLEMENTED, f"There is no method {method} here.") from None


def service_may(service: str, method: str) -> bool:
    """Whether a service may call `method` on its own account."""
    return method in SERVICES.get(service, ())


def check_covered(methods: Iterable[str]) -> None:
    """Raises RuntimeError when a registered method has no entry: deny by default starts at start-up."""
    missing = sorted(set(methods) - set(PERMISSIONS))
    if missing:
        raise RuntimeError(f"these methods have no entry in mesh/permissions.py: {', '.join(missing)}")
