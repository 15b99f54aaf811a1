"""The examples of docs/api.md: bodies, queries and names that work as they stand, and which are not run, and why."""

from collections.abc import Mapping
from typing import Any

BODIES: Mapping[str, Any] = {
    "gateway.ImportKeys": {
        "source": "litellm",
        "keys": [
            {
                "sha256": "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9",
                "name": "app",
                "hint": "sk-…4kJ2",
                "models": ["gpt-4o"],
            }
        ],
    },
    "gateway.Redact": {"text": "Write to ann@example.com.", "kinds": ["email"]},
    "gateway.Validate": {
        "text": "2 + 2 = 5, as everybody knows.",
        "question": "What is 2 + 2?",
        "checks": ["arithmetic", "shape"],
    },
    "gateway.CreateApiKey": {"name": "laptop", "scopes": ["chat", "read"], "models": ["openai/*"]},
    "gateway.UpdateApiKey": {"name": "laptop of Bob", "user_id": ""},
    "gateway.CreateTeam": {"name": "sales"},
    "gateway.UpdateTeam": {"name": "sales-emea"},
    "gateway.CreateProject": {"name": "website"},
    "gateway.UpdateProject": {"team_id": ""},
    "gateway.CreateUser": {"name": "Bob", "email": "bob@example.com"},
    "gateway.UpdateUser": {"email": ""},
    "gateway.embeddings": {"model": "mock/embed", "input": ["first", "second"]},
    "gateway.speech": {"model": "mock/tts", "voice": "alloy", "input": "Hello!", "response_format": "wav"},
    "gateway.CreateOrganisation": {"name": "research"},
    "gateway.CreateTenant": {
        "tenant_name": "acme",
        "monthly_budget_usd": 100,
        "allowed_models": ["openai/*", "local/*"],
        "routing_mode": "local-preferred",
    },
    "gateway.UpdateTenant": {"monthly_budget_usd": 50, "clear": ["allowed_models"]},
    "budget.SetBudget": {"level": {"kind": "KIND_ORG"}, "window": "WINDOW_MONTH", "limit_nano_usd": "5000000000"},
    "budget.CreateBudget": {"level": {"kind": "KIND_ORG"}, "window": "WINDOW_DAY", "limit_nano_usd": "1000000000"},
    "budget.UpdateBudget": {"limit_nano_usd": "2000000000", "enforcement": "ENFORCEMENT_SOFT"},
    "budget.Adjust": {
        "adjustment_id": "01a1fccb-d17f-7000-8000-000000000001",
        "request_id": "REQUEST_ID",
        "amount_nano_usd": "-250000000",
        "reason": "invoice 2026-11",
    },
    "budget.StopSpending": {"reason": "leaked key"},
    "budget.SetRateLimit": {"level": {"kind": "KIND_ORG"}, "requests_per_minute": "600", "concurrent_requests": "50"},
    "budget.SetPrice": {
        "model": "openai/gpt-4o-mini",
        "nano_usd_per_mtok": {"input": "150000000", "output": "600000000"},
        "valid_from": "2099-01-01T00:00:00Z",
    },
    **{
        f"gateway.{name}{form}": {"content": "Where is my invoice?", "model": "mock/gpt-4o-mini", "max_tokens": 20}
        for name in ("turn", "streamTurn")
        for form in ("", ".2")
    },
    "gateway.taskChat": {"messages": [{"role": "user", "content": "Hi"}], "task_type": "qa_retrieval"},
    "memory.Remember": {
        "memories": [{"kind": "MEMORY_KIND_FACT", "text": "Ada lives in Bergen", "pinned": True, "source_ids": ["m1"]}]
    },
    "memory.Recall": {"query": "Where does Ada live?", "top_k": 5},
    "memory.UpdateMemory": {"pinned": False, "valid_to": "2026-11-30T00:00:00Z"},
    "memory.DeleteMemories": {"filter": {"thread_id": "support-42"}},
    "memory.EraseMemories": {"filter": {"agent_id": "support"}},
    "memory.BuildContext": {
        "messages": [{"role": "user", "text": "And my invoice?"}],
        "max_tokens": 4000,
        "recall": {"enabled": True},
    },
    "memory.UpdateSummary": {
        "text": "They talked about an invoice.",
        "until_message_id": "MESSAGE_ID",
        "written_by": "openai/gpt-4o-mini",
    },
    "memory.Embed": {"texts": ["first", "second"]},
    "memory.CreateThread": {"thread_id": "support-42", "title": "A question about an invoice"},
    **{f"memory.SearchMessages{form}": {"query": "invoice of May"} for form in ("", ".2", ".3", ".4")},
    "memory.CreateCollection": {"collection": "handbook"},
    "memory.UpsertVectors": {
        "collection": "handbook",
        "items": [
            {"id": "leave", "text": "You have 28 days of leave a year.", "metadata": {"lang": "en"}},
            {"id": "laptop", "text": "A new laptop is ordered from the service desk.", "metadata": {"lang": "en"}},
        ],
    },
    "memory.SearchVectors": {"collection": "handbook", "text": "how many vacation days", "filter": {"lang": "en"}},
    "memory.DeleteVectors": {"collection": "handbook", "ids": ["laptop"]},
    "memory.ReindexCollection": {},
    "memory.RewrapDataKeys": {"check_only": True},
    "audit.RewrapPayloadKeys": {"check_only": True},
    "memory.PurgeCache": {"model": "mock/gpt-4o-mini", "older_than_s": 3600},
    "memory.ReportCacheFeedback": {"entry_id": "01a1fccb-d17f-7000-9000-000000000001", "similarity": 0.97},
    "memory.EraseOrganisation": {"org_id": "ORG_ID"},
    "memory.CreateThread.2": {"title": "A journey to Rome", "tags": ["travel"], "model": "auto:quality"},
    **{
        f"memory.{name}{form}": body
        for form in ("", ".2")
        for name, body in {
            "UpdateThread": {"title": "The invoice of May", "tags": ["billing"], "parameters": {"temperature": 0.2}},
            "RestoreThread": {},
            "UpdateMessage": {"content": "Where is the invoice of May?", "request_id": "edit-1"},
            "CreateBranch": {"name": "another try", "request_id": "branch-1"},
            "ActivateBranch": {},
            "BatchConversations": {
                "request_id": f"batch{form}",
                "operations": [
                    {"create": {"thread_id": "support-43", "title": "Another question"}},
                    {"tag": {"thread_id": "support-43", "add": ["billing"]}},
                    {"delete": {"thread_id": "support-43", "erase": True}},
                ],
            },
            "ImportConversation": {"markdown": "# Lunch\n\n## User\n\nPasta?\n\n## Assistant\n\nYes, with basil.\n"},
            "MergeBranch": {"target_branch_id": "main", "policy": "MERGE_POLICY_APPEND", "request_id": "merge-1"},
        }.items()
    },
    "audit.Erase": {
        "subject": "user:01a1fccb-d17f-7000-9000-000000000001",
        "basis": "GDPR Art. 17, ticket 4711",
        "dry_run": True,
    },
    "audit.Prune": {"before": "2026-01-01T00:00:00Z", "dry_run": True},
    "audit.SetHold": {"subject": "user:01a1fccb-d17f-7000-9000-000000000001", "reason": "Smith v. Jones"},
    "router.CreateModel": {
        "entry": {
            "model": "mock/huge",
            "provider": "mock",
            "context_tokens": 64000,
            "quality": 0.9,
            "prices": [{"usd_per_mtok": {"input": "1.50", "output": "6.00"}}],
        }
    },
    **{
        f"router.UpdateModel{form}": {
            "entry": {"provider": "mock", "context_tokens": 128000, "prices": [{"free": True}]}
        }
        for form in ("", ".2")
    },
    "router.RollbackModel": {},
    "router.RollbackTenantRules": {},
    "router.SubmitFeedback": {"request_id": "REQUEST_ID", "rating": 1},
    "router.ResetLearned": {"task_type": "coding_help"},
    "router.Route": {"model": "auto", "prompt": "Write a function that merges two sorted lists"},
    "router.ForceBreaker": {"model": "openai/gpt-4o", "state": "STATE_OPEN", "note": "wrong answers since noon"},
    "router.CreatePolicy": {"name": "frugal", "rules": {"profile": "budget", "max_cost_usd": 0.01}},
    "router.TestPolicy": {
        "rules": {"profile": "budget"},
        "requests": [{"request_id": "one", "asked_model": "auto", "input_tokens": "200", "output_tokens": "100"}],
    },
    "router.UpdatePolicy": {"rules": {"profile": "speed"}, "etag": "1"},
    "router.UpdatePolicy.2": {"rules": {"profile": "speed"}},
    "router.RollbackPolicy": {"version": "1"},
    "router.AssignPolicy": {"level": {"kind": "KIND_ORG"}, "policy": "balanced"},
    "router.CreateExperiment": {
        "name": "cheaper answers",
        "kind": "KIND_CANARY",
        "policy": "budget",
        "steps": [{"share": 0.05, "min_requests": "200", "min_s": 600}],
    },
    "router.UpdateExperiment": {"state": "STATE_STOPPED", "note": "seen enough"},
    "router.RefreshSources": {"sources": ["models_dev"]},
    "provider.AddProvider": {"provider": "openai", "api_key": "sk-…"},
    "provider.Discover": {"providers": ["mock"]},
    "provider.Discover.2": {"providers": ["mock"]},
    "provider.Probe": {"model": "openrouter/some/model", "max_nano_usd": "10000000"},
    "provider.CreateProviderKey": {"provider": "openai", "api_key": "sk-…", "is_active": True, "weight": 1},
    "provider.CreateProviderKey.2": {"api_key": "sk-…", "weight": 1},
    "provider.UpdateProviderKey": {"is_active": False},
    "provider.UpdateProviderKey.2": {"is_active": False},
    "provider.RotateProviderKeys": {"check_only": True},
    "gateway.RotateMasterKey": {"check_only": True},
}
"""Example bodies that work as they stand, where one made from the schema would not."""

NAMES: Mapping[str, str] = {
    "thread_id": "support-42",
    "collection": "handbook",
    "model_id": "openai/gpt-4o-mini",
    "model": "openai/gpt-4o-mini",
    "provider": "openai",
}
"""Example values of parameters in paths; the others are ids that DAC makes."""

QUERIES: Mapping[str, str] = {
    "audit.GetConsistencyProof": "size=1",
    "memory.ListThreads.2": "tag=travel&search=rome&page_size=10",
    "memory.ListMessages.2": "all=true",
    "memory.DeleteThread.2": "erase=true",
    "memory.ExportConversation": "format=markdown",
    "memory.ExportConversation.2": "format=json",
    "router.ListModels": "order_by=quality+desc&page_size=3",
    "router.SearchModels": "q=claude+images&include_unavailable=true",
    "router.CompareModels": "model_ids=openai/gpt-4o-mini,anthropic/claude-haiku-4-5",
    "router.GetRankings": "profile=budget&intent=coding_help",
}
"""Example queries, where an operation needs one or says more with it."""

MARKS: Mapping[str, str] = {
    "audit.ReadLog": "needs the operator's token",
    "audit.ReportArchive": "needs a checkpoint of the log",
    "gateway.transcriptions": "needs an audio file of yours",
    "gateway.translations": "needs an audio file of yours",
    "gateway.speech": "prints sound",
    "budget.Adjust": "needs a request that was charged more than that",
    "budget.StopSpending": "refuses everything behind it",
    "provider.AddProvider": "needs a provider's real key",
    "memory.RotateDataKey": "needs memory.encrypt_text",
    "memory.UpdateSummary": "needs a message of yours",
    "memory.EraseOrganisation": "erases what the other examples need",
    "provider.Probe": "needs a real provider, and money",
    "provider.CreateProviderKey.2": "needs a provider's real key",
    "router.UpdateModel": "needs a model that the API made",
    "router.UpdateModel.2": "needs a model that the API made",
    "router.DeleteModel": "needs a model that the API made",
    "router.ListModelVersions": "needs a model that the API made",
    "router.CreateExperiment": "takes a share of the other examples' requests",
    "router.ListTenantRulesVersions": "needs a tenant of yours",
    "router.RollbackTenantRules": "needs a tenant of which something was said twice",
    "router.RollbackModel": "needs a model that the API made",
    "router.SubmitFeedback": "needs a request that was answered",
    "router.RefreshSources": "asks public sources over the network",
    "provider.RemoveProvider": "needs a provider that was added through the API",
    "audit.FollowRequests": "does not end by itself",
}
"""Why an example is not run by the tests."""
